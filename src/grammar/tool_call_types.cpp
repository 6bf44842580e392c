#include "grammar/tool_call_types.h"

#include <unordered_set>
#include <vector>

#include "grammar/schema_document.h"
#include "grammar/schema_keywords.h"

namespace tetrad::grammar {
namespace {

TypeMask mask_named(const json::value& name) {
  const json::string* text = name.if_string();
  if (text == nullptr) return 0;
  if (*text == "null") return kNullType;
  if (*text == "integer") return kIntegerType;
  if (*text == "number") return kNumberType;
  if (*text == "boolean") return kBooleanType;
  if (*text == "string") return kStringType;
  if (*text == "array") return kArrayType;
  return *text == "object" ? kObjectType : TypeMask{0};
}

TypeMask mask_of_value(const json::value& value) {
  if (value.is_bool()) return kBooleanType;
  if (value.is_double()) return kNumberType;
  return type_of(value);
}

TypeMask named_types(const json::value& part) {
  TypeMask types = 0;
  if (const json::value* type = schema_member(part, "type")) {
    types |= mask_named(*type);
    if (const json::array* list = type->if_array()) {
      for (const json::value& name : *list)
        types |= mask_named(name);
    }
  }
  const json::value* values = schema_member(part, "enum");
  if (values != nullptr && values->is_array()) {
    for (const json::value& value : values->get_array())
      types |= mask_of_value(value);
  }
  if (const json::value* value = schema_member(part, "const")) types |= mask_of_value(*value);
  return types;
}

/// A schema object and all that it refers to for the same value.
std::vector<const json::value*> parts_of_schema(const json::value& root,
                                                const json::value& schema) {
  std::vector<const json::value*> parts;
  std::unordered_set<const json::value*> seen;
  const auto add = [&](const json::value* part) {
    if (part != nullptr && part->is_object() && seen.insert(part).second) parts.push_back(part);
  };
  add(&schema);
  for (size_t i = 0; i < parts.size(); ++i) {
    const json::value* ref = schema_member(*parts[i], "$ref");
    if (ref != nullptr && ref->is_string()) {
      const std::string_view text(ref->get_string());
      if (text == "#") add(&root);
      if (text.starts_with("#/")) add(value_at_pointer(root, text.substr(1)));
    }
    for (const std::string_view keyword : {"anyOf", "oneOf", "allOf"}) {
      const json::value* schemas = schema_member(*parts[i], keyword);
      if (schemas == nullptr || !schemas->is_array()) continue;
      for (const json::value& one : schemas->get_array())
        add(&one);
    }
  }
  return parts;
}

bool is_nullable_part(const json::value& part) {
  const json::value* nullable = schema_member(part, "nullable");
  return nullable != nullptr && nullable->is_bool() && nullable->get_bool();
}

}  // namespace

TypeMask argument_types(const json::value& parameters, std::string_view name) {
  const json::value* property = nullptr;
  for (const json::value* part : parts_of_schema(parameters, parameters)) {
    const json::value* properties = schema_member(*part, "properties");
    if (properties == nullptr || !properties->is_object()) continue;
    property = properties->get_object().if_contains(name);
    if (property != nullptr && property->is_object()) break;
    property = nullptr;
  }
  if (property == nullptr) return kStringType;
  TypeMask types = 0;
  TypeMask nullable = 0;
  for (const json::value* part : parts_of_schema(parameters, *property)) {
    types |= named_types(*part);
    if (is_nullable_part(*part)) nullable = kNullType;
  }
  if (types == 0) types = kStringType;
  return types | nullable;
}

}  // namespace tetrad::grammar
