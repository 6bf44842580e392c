#pragma once

// What a compiler of JSON Schema knows about one value: a conjunction of terms.

#include <compare>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace tetrad::grammar {

/// Sets of values that can be told apart by their first bytes; a number is whole or has a fraction.
using TypeMask = uint16_t;
constexpr TypeMask kNullType = 1;
constexpr TypeMask kFalseType = 2;
constexpr TypeMask kTrueType = 4;
constexpr TypeMask kIntegerType = 8;
constexpr TypeMask kFractionType = 16;
constexpr TypeMask kStringType = 32;
constexpr TypeMask kArrayType = 64;
constexpr TypeMask kObjectType = 128;
constexpr TypeMask kBooleanType = kFalseType | kTrueType;
constexpr TypeMask kNumberType = kIntegerType | kFractionType;
constexpr TypeMask kLiteralType = kNullType | kBooleanType;
constexpr TypeMask kAnyType = 255;

struct Term {
  enum class Kind : uint8_t {
    schema,        // satisfies the schema at `node`
    not_schema,    // does not satisfy the schema at `node`
    keywords,      // satisfies what a SchemaNormalizer leaves of the schema object at `node`
    equals,        // is the value at `node`
    not_equal,     // is not the value at `node`
    strings,       // is one of the strings in the array at `node`
    numbers,       // is one of the numbers in the array at `node`
    not_in,        // is none of the values in the array at `node`
    types,         // is of one of `types`
    requires_key,  // has the property `key`, if it is an object
    forbids_key,   // does not have the property `key`, if it is an object
    violates,      // does not satisfy the keyword `key` of the schema object at `node`
    property_not,  // its property `key`, if there is one, does not satisfy the schema at `node`
  };
  Kind kind = Kind::schema;
  TypeMask types = 0;
  const json::value* node = nullptr;
  std::string_view key;

  static Term schema(const json::value& node) { return of(Kind::schema, node); }
  static Term of(Kind kind, const json::value& node) { return {kind, 0, &node, {}}; }
  static Term of_types(TypeMask types) { return {Kind::types, types, nullptr, {}}; }
  static Term of_key(Kind kind, std::string_view key, const json::value* node = nullptr) {
    return {kind, 0, node, key};
  }

  auto operator<=>(const Term&) const = default;
};

/// All of them hold. As a key of a map: sorted, without repetitions.
using Terms = std::vector<Term>;

/// One of the ways to satisfy some terms, with nothing left to choose but the type: the terms that
/// all hold, none of which has an effect through $ref, allOf, anyOf or the like any more.
struct Alternative {
  TypeMask types = kAnyType;
  Terms terms;  // in the order of the schema
};

/// The one bit of a value.
TypeMask type_of(const json::value& value);

/// Exact.
std::partial_ordering compare_numbers(const json::value& a, const json::value& b);

/// Equal as JSON values: 1 and 1.0 are, objects in any order of keys are. The depth of both is
/// bounded by whoever parsed them.
bool equal_json(const json::value& a, const json::value& b);

}  // namespace tetrad::grammar
