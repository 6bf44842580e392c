#include "grammar/schema_keywords.h"

#include <cmath>
#include <limits>

namespace tetrad::grammar {
namespace {

std::optional<TypeMask> type_named(std::string_view name) {
  if (name == "null") return kNullType;
  if (name == "boolean") return kBooleanType;
  if (name == "integer") return kIntegerType;
  if (name == "number") return kNumberType;
  if (name == "string") return kStringType;
  if (name == "array") return kArrayType;
  if (name == "object") return kObjectType;
  return std::nullopt;
}

Result<TypeMask> named_type(const SchemaDocument& document, const json::value& node,
                            const json::value& name) {
  const json::string* text = name.if_string();
  const auto mask = text == nullptr ? std::nullopt : type_named(*text);
  if (!mask)
    return document.fail_at(node, "type",
                            "must be null, boolean, integer, number, string, array or object, or "
                            "a list of these");
  return *mask;
}

}  // namespace

const json::value* schema_member(const json::value& node, std::string_view keyword) {
  const json::object* schema = node.if_object();
  return schema == nullptr ? nullptr : schema->if_contains(keyword);
}

Result<const json::array*> array_member(const SchemaDocument& document, const json::value& node,
                                        std::string_view keyword) {
  const json::value* member = schema_member(node, keyword);
  if (member == nullptr) return nullptr;
  if (!member->is_array())
    return document.fail_at(node, keyword, "must be an array, not {}", json_kind_name(*member));
  return &member->get_array();
}

Result<const json::object*> object_member(const SchemaDocument& document, const json::value& node,
                                          std::string_view keyword) {
  const json::value* member = schema_member(node, keyword);
  if (member == nullptr) return nullptr;
  if (!member->is_object())
    return document.fail_at(node, keyword, "must be an object, not {}", json_kind_name(*member));
  return &member->get_object();
}

Result<const json::string*> string_member(const SchemaDocument& document, const json::value& node,
                                          std::string_view keyword) {
  const json::value* member = schema_member(node, keyword);
  if (member == nullptr) return nullptr;
  if (!member->is_string())
    return document.fail_at(node, keyword, "must be a string, not {}", json_kind_name(*member));
  return &member->get_string();
}

Result<const json::array*> names_member(const SchemaDocument& document, const json::value& node,
                                        std::string_view keyword) {
  TETRAD_ASSIGN(const json::array* names, array_member(document, node, keyword));
  if (names == nullptr) return names;
  for (const json::value& name : *names) {
    if (!name.is_string()) return document.fail_at(node, keyword, "must be a list of strings");
  }
  return names;
}

Result<std::optional<int64_t>> count_member(const SchemaDocument& document, const json::value& node,
                                            std::string_view keyword) {
  const json::value* member = schema_member(node, keyword);
  if (member == nullptr) return std::nullopt;
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 4;
  if (const int64_t* count = member->if_int64(); count != nullptr && *count >= 0)
    return std::min(*count, kMost);
  if (member->is_uint64()) return kMost;
  if (const double* count = member->if_double();
      count != nullptr && *count >= 0 && *count == std::floor(*count))
    return *count < 1e18 ? static_cast<int64_t>(*count) : kMost;
  return document.fail_at(node, keyword, "must be a whole number that is not negative");
}

Result<int64_t> present_count(const SchemaDocument& document, const json::value& node,
                              std::string_view keyword) {
  TETRAD_ASSIGN(const std::optional<int64_t> count, count_member(document, node, keyword));
  return count.value_or(0);
}

Result<TypeMask> types_member(const SchemaDocument& document, const json::value& node) {
  const json::value* type = schema_member(node, "type");
  if (type == nullptr) return kAnyType;
  TypeMask mask = 0;
  if (const json::array* types = type->if_array()) {
    for (const json::value& name : *types) {
      TETRAD_ASSIGN(const TypeMask one, named_type(document, node, name));
      mask |= one;
    }
  } else {
    TETRAD_ASSIGN(mask, named_type(document, node, *type));
  }
  // OpenAPI 3.0.
  if (const json::value* nullable = schema_member(node, "nullable");
      nullable != nullptr && nullable->is_bool() && nullable->get_bool())
    mask |= kNullType;
  return mask;
}

bool is_true_schema(const json::value& schema) {
  if (const bool* value = schema.if_bool()) return *value;
  const json::object* object = schema.if_object();
  return object != nullptr && object->empty();
}

bool is_false_schema(const json::value& schema) {
  if (const bool* value = schema.if_bool()) return !*value;
  const json::value* negated = schema_member(schema, "not");
  return negated != nullptr && !schema.get_object().contains("$ref") && is_true_schema(*negated);
}

}  // namespace tetrad::grammar
