#include "grammar/schema_negation.h"

#include <algorithm>
#include <utility>

#include "grammar/schema_keywords.h"

namespace tetrad::grammar {
namespace {

// Of these no opposite is known; all others say nothing about validity, or are handled below.
constexpr std::string_view kNoOpposite[] = {
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "items",
    "prefixItems",
    "additionalItems",
    "uniqueItems",
    "contains",
    "multipleOf",
    "oneOf",
    "if",
    "format",
    "unevaluatedItems",
    "$dynamicRef",
    "unevaluatedProperties",
    "$recursiveRef",
};

struct BoundKeyword {
  std::string_view name;
  TypeMask types;
};

// What is not within one of these bounds is beyond it.
constexpr BoundKeyword kBoundKeywords[] = {
    {"minLength", kStringType},        {"maxLength", kStringType},
    {"pattern", kStringType},          {"minimum", kNumberType},
    {"maximum", kNumberType},          {"exclusiveMinimum", kNumberType},
    {"exclusiveMaximum", kNumberType}, {"minItems", kArrayType},
    {"maxItems", kArrayType},          {"minProperties", kObjectType},
    {"maxProperties", kObjectType},
};

void append_bound_opposites(const json::value& node, std::vector<Terms>& options) {
  for (const BoundKeyword& keyword : kBoundKeywords) {
    const json::value* member = schema_member(node, keyword.name);
    // A boolean belongs to "minimum" or "maximum".
    if (member != nullptr && !member->is_bool())
      options.push_back(
          {Term::of_types(keyword.types), Term::of_key(Term::Kind::violates, keyword.name, &node)});
  }
}

void append_key_opposites(const json::array* required, const json::object* properties,
                          std::vector<Terms>& options) {
  if (required != nullptr) {
    for (const json::value& name : *required)
      options.push_back(
          {Term::of_types(kObjectType), Term::of_key(Term::Kind::forbids_key, name.get_string())});
  }
  if (properties != nullptr) {
    for (const auto& [key, schema] : *properties)
      options.push_back({Term::of_types(kObjectType), Term::of_key(Term::Kind::requires_key, key),
                         Term::of_key(Term::Kind::property_not, key, &schema)});
  }
}

Result<void> append_applicator_opposites(const SchemaDocument& document, const json::value& node,
                                         std::vector<Terms>& options) {
  TETRAD_ASSIGN(const json::array* all, array_member(document, node, "allOf"));
  if (all != nullptr) {
    for (const json::value& schema : *all)
      options.push_back({Term::of(Term::Kind::not_schema, schema)});
  }
  TETRAD_ASSIGN(const json::array* any, array_member(document, node, "anyOf"));
  if (any != nullptr) {
    Terms none;
    for (const json::value& schema : *any)
      none.push_back(Term::of(Term::Kind::not_schema, schema));
    options.push_back(std::move(none));
  }
  if (const json::value* negated = schema_member(node, "not"))
    options.push_back({Term::schema(*negated)});
  return {};
}

/// "dependentRequired", or what of "dependencies" is like it, for one key.
Terms required_with(std::string_view key, const json::array& names) {
  Terms terms = {Term::of_types(kObjectType), Term::of_key(Term::Kind::requires_key, key)};
  for (const json::value& name : names)
    terms.push_back(Term::of_key(Term::Kind::requires_key, name.get_string()));
  return terms;
}

Result<void> append_dependencies(const SchemaDocument& document, const json::value& node,
                                 std::string_view keyword,
                                 std::vector<std::vector<Terms>>& conditions) {
  TETRAD_ASSIGN(const json::object* dependencies, object_member(document, node, keyword));
  if (dependencies == nullptr) return {};
  for (const auto& [key, dependency] : *dependencies) {
    if (is_true_schema(dependency)) continue;
    Terms present;
    if (dependency.is_array() && keyword != "dependentSchemas") {
      TETRAD_ASSIGN(const json::array* names,
                    names_member(document, *schema_member(node, keyword), key));
      if (names->empty()) continue;
      present = required_with(key, *names);
    } else if (keyword != "dependentRequired") {
      present = {Term::of_types(kObjectType), Term::of_key(Term::Kind::requires_key, key),
                 Term::schema(dependency)};
    } else {
      return document.fail_at(dependency, "", "must be a list of strings");
    }
    conditions.push_back({{Term::of_key(Term::Kind::forbids_key, key)}, std::move(present)});
  }
  return {};
}

}  // namespace

Result<std::vector<Terms>> negated_options(const SchemaDocument& document,
                                           const json::value& node) {
  if (!node.is_object())
    return document.fail_at(node, "", "must be a schema: an object or a boolean, not {}",
                            json_kind_name(node));
  std::vector<Terms> options;
  TETRAD_ASSIGN(const json::string* ref, string_member(document, node, "$ref"));
  if (ref != nullptr) {
    TETRAD_ASSIGN(const json::value* target, document.resolve(node, *ref));
    options.push_back({Term::of(Term::Kind::not_schema, *target)});
    if (document.ref_hides_siblings()) return options;
  }
  for (const std::string_view keyword : kNoOpposite) {
    if (schema_member(node, keyword) != nullptr)
      return document.fail_at(node, keyword,
                              "is not supported within \"not\" and \"if\": only the opposites of "
                              "type, enum, const, required, properties, bounds, pattern, allOf, "
                              "anyOf and not are");
  }
  TETRAD_ASSIGN(const TypeMask types, types_member(document, node));
  if (types != kAnyType) options.push_back({Term::of_types(kAnyType & ~types)});
  if (const json::value* value = schema_member(node, "const"))
    options.push_back({Term::of(Term::Kind::not_equal, *value)});
  TETRAD_ASSIGN(const json::array* values, array_member(document, node, "enum"));
  if (values != nullptr)
    options.push_back({Term::of(Term::Kind::not_in, *schema_member(node, "enum"))});
  TETRAD_ASSIGN(const json::array* required, names_member(document, node, "required"));
  TETRAD_ASSIGN(const json::object* properties, object_member(document, node, "properties"));
  append_key_opposites(required, properties, options);
  append_bound_opposites(node, options);
  TETRAD_TRY(append_applicator_opposites(document, node, options));
  return options;
}

Result<std::vector<std::vector<Terms>>> conditional_options(const SchemaDocument& document,
                                                            const json::value& node) {
  std::vector<std::vector<Terms>> conditions;
  for (const std::string_view keyword : {"dependentRequired", "dependentSchemas", "dependencies"})
    TETRAD_TRY(append_dependencies(document, node, keyword, conditions));
  const json::value* condition = schema_member(node, "if");
  const json::value* then = schema_member(node, "then");
  const json::value* otherwise = schema_member(node, "else");
  if (condition == nullptr || (then == nullptr && otherwise == nullptr)) return conditions;
  Terms fulfilled = {Term::schema(*condition)};
  if (then != nullptr) fulfilled.push_back(Term::schema(*then));
  Terms unfulfilled = {Term::of(Term::Kind::not_schema, *condition)};
  if (otherwise != nullptr) unfulfilled.push_back(Term::schema(*otherwise));
  conditions.push_back({std::move(fulfilled), std::move(unfulfilled)});
  return conditions;
}

}  // namespace tetrad::grammar
