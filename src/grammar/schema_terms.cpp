#include "grammar/schema_terms.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tetrad::grammar {
namespace {

static_assert(std::numeric_limits<long double>::digits >= 64, "holds every 64-bit integer");

long double exact(const json::value& number) {
  if (const int64_t* whole = number.if_int64()) return static_cast<long double>(*whole);
  if (const uint64_t* whole = number.if_uint64()) return static_cast<long double>(*whole);
  return static_cast<long double>(number.get_double());
}

}  // namespace

TypeMask type_of(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return kNullType;
    case json::kind::bool_:
      return value.get_bool() ? kTrueType : kFalseType;
    case json::kind::int64:
    case json::kind::uint64:
      return kIntegerType;
    case json::kind::double_:
      return value.get_double() == std::floor(value.get_double()) ? kIntegerType : kFractionType;
    case json::kind::string:
      return kStringType;
    case json::kind::array:
      return kArrayType;
    case json::kind::object:
      return kObjectType;
  }
  return 0;
}

std::partial_ordering compare_numbers(const json::value& a, const json::value& b) {
  return exact(a) <=> exact(b);
}

bool equal_json(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  if (const json::array* array = a.if_array())
    return std::ranges::equal(*array, b.get_array(), equal_json);
  if (const json::object* object = a.if_object()) {
    const json::object& other = b.get_object();
    return object->size() == other.size() &&
           std::ranges::all_of(*object, [&](const json::key_value_pair& member) {
             const json::value* found = other.if_contains(member.key());
             return found != nullptr && equal_json(member.value(), *found);
           });
  }
  return a == b;
}

}  // namespace tetrad::grammar
