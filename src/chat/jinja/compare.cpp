#include <algorithm>
#include <cmath>

#include "chat/jinja/iteration.h"
#include "chat/jinja/number_text.h"
#include "chat/jinja/object.h"
#include "chat/jinja/operators.h"

namespace tetrad::jinja {
namespace {

/// Which of two numbers is larger, exactly: an integer is not rounded to compare it with a float.
/// Unordered with NaN.
std::partial_ordering compare_numbers(const Value& left, const Value& right) {
  if (left.is_integral() && right.is_integral()) {
    const Int a = left.as_integer();
    const Int b = right.as_integer();
    return a < b   ? std::partial_ordering::less
           : a > b ? std::partial_ordering::greater
                   : std::partial_ordering::equivalent;
  }
  if (!left.is_integral() && !right.is_integral())
    return left.as_floating() <=> right.as_floating();
  if (left.is_integral()) return 0 <=> compare_numbers(right, left);

  const double number = left.as_floating();
  const auto whole = truncate_to_int(number);
  if (!whole) return number <=> 0.0;  // beyond every integer, or NaN
  const Int b = right.as_integer();
  if (*whole != b) {
    return *whole < b ? std::partial_ordering::less : std::partial_ordering::greater;
  }
  return number <=> std::trunc(number);
}

Result<bool> equal_sequences(const std::vector<Value>& left, const std::vector<Value>& right,
                             Budget& budget) {
  if (left.size() != right.size()) return false;
  for (size_t i = 0; i < left.size(); ++i) {
    TETRAD_ASSIGN(const bool same, equals(left[i], right[i], budget));
    if (!same) return false;
  }
  return true;
}

Result<bool> equal_dicts(const Dict& left, const Dict& right, Budget& budget) {
  if (left.size() != right.size()) return false;
  for (const auto& [key, value] : left.entries()) {
    TETRAD_ASSIGN(const Value* other, right.find(key, budget));
    if (other == nullptr) return false;
    TETRAD_ASSIGN(const bool same, equals(value, *other, budget));
    if (!same) return false;
  }
  return true;
}

bool equal_ranges(const Range& left, const Range& right) {
  if (left.length != right.length) return false;
  if (left.length == 0) return true;
  return left.start == right.start && (left.length == 1 || left.step == right.step);
}

/// The first elements that differ decide.
Result<bool> less_sequence(const std::vector<Value>& left, const std::vector<Value>& right,
                           Budget& budget) {
  const size_t shared = std::min(left.size(), right.size());
  for (size_t i = 0; i < shared; ++i) {
    TETRAD_ASSIGN(const bool same, equals(left[i], right[i], budget));
    if (!same) return less_than(left[i], right[i], budget);
  }
  return left.size() < right.size();
}

Result<bool> string_contains(const Value& text, const Value& item, Budget& budget) {
  if (!item.is_string()) {
    return fail(ErrorCode::invalid_argument,
                "'in <string>' requires string as left operand, not {}", item.type_name());
  }
  TETRAD_TRY(budget.spend_bytes(text.bytes().size()));
  return text.bytes().find(item.bytes()) != std::string::npos;
}

Result<bool> any_equals(const std::vector<Value>& items, const Value& item, Budget& budget) {
  for (const Value& candidate : items) {
    TETRAD_ASSIGN(const bool found, equals(candidate, item, budget));
    if (found) return true;
  }
  return false;
}

Result<bool> iterator_contains(const Value& container, const Value& item, Budget& budget) {
  const auto iterator = iterate(container);
  if (!iterator) {
    return fail(ErrorCode::invalid_argument, "argument of type '{}' is not iterable",
                container.type_name());
  }
  for (;;) {
    TETRAD_ASSIGN(const auto candidate, (*iterator)->next());
    if (!candidate) return false;
    TETRAD_ASSIGN(const bool found, equals(*candidate, item, budget));
    if (found) return true;
  }
}

}  // namespace

std::string_view symbol_of(CompareOperator op) {
  switch (op) {
    case CompareOperator::eq:
      return "==";
    case CompareOperator::ne:
      return "!=";
    case CompareOperator::lt:
      return "<";
    case CompareOperator::le:
      return "<=";
    case CompareOperator::gt:
      return ">";
    case CompareOperator::ge:
      return ">=";
    case CompareOperator::in:
      return "in";
    case CompareOperator::not_in:
      return "not in";
  }
  return "?";
}

Result<bool> equals(const Value& left, const Value& right, Budget& budget) {
  TETRAD_TRY(budget.spend());
  if (left.is_number() && right.is_number()) {
    return compare_numbers(left, right) == std::partial_ordering::equivalent;
  }
  if (left.kind() != right.kind()) return false;
  switch (left.kind()) {
    case Kind::string:
      if (left.bytes().size() != right.bytes().size()) return false;
      TETRAD_TRY(budget.spend_bytes(left.bytes().size()));
      return left.bytes() == right.bytes();
    case Kind::list:
    case Kind::tuple:
      return equal_sequences(left.items(), right.items(), budget);
    case Kind::dict:
      return equal_dicts(left.as_dict(), right.as_dict(), budget);
    case Kind::range:
      return equal_ranges(left.as_range(), right.as_range());
    default:
      return left.is_same(right);
  }
}

Result<bool> less_than(const Value& left, const Value& right, Budget& budget) {
  TETRAD_TRY(budget.spend());
  if (left.is_number() && right.is_number()) {
    return compare_numbers(left, right) == std::partial_ordering::less;
  }
  if (left.is_undefined()) return fail(ErrorCode::invalid_argument, "{}", left.why_undefined());
  if (right.is_undefined()) return fail(ErrorCode::invalid_argument, "{}", right.why_undefined());
  if (left.is_string() && right.is_string()) {
    TETRAD_TRY(budget.spend_bytes(std::min(left.bytes().size(), right.bytes().size())));
    return left.bytes() < right.bytes();  // UTF-8 sorts as its code points do
  }
  if (left.is_sequence() && left.kind() == right.kind()) {
    return less_sequence(left.items(), right.items(), budget);
  }
  return fail(ErrorCode::invalid_argument, "'<' not supported between instances of '{}' and '{}'",
              left.type_name(), right.type_name());
}

Result<bool> contains(const Value& container, const Value& item, Budget& budget) {
  TETRAD_TRY(budget.spend());
  switch (container.kind()) {
    case Kind::string:
      return string_contains(container, item, budget);
    case Kind::list:
    case Kind::tuple:
      return any_equals(container.items(), item, budget);
    case Kind::dict: {
      TETRAD_ASSIGN(const Value* found, container.as_dict().find(item, budget));
      return found != nullptr;
    }
    default:
      return iterator_contains(container, item, budget);
  }
}

Result<bool> apply_compare(CompareOperator op, const Value& left, const Value& right,
                           Budget& budget) {
  const auto negated = [](Result<bool> result) {
    if (result) *result = !*result;
    return result;
  };
  // a <= b is "a < b or a == b" rather than "not b < a": with NaN both are false.
  const auto or_equal = [&](Result<bool> less) {
    return !less || *less ? less : equals(left, right, budget);
  };
  switch (op) {
    case CompareOperator::eq:
      return equals(left, right, budget);
    case CompareOperator::ne:
      return negated(equals(left, right, budget));
    case CompareOperator::lt:
      return less_than(left, right, budget);
    case CompareOperator::le:
      return or_equal(less_than(left, right, budget));
    case CompareOperator::gt:
      return less_than(right, left, budget);
    case CompareOperator::ge:
      return or_equal(less_than(right, left, budget));
    case CompareOperator::in:
      return contains(right, left, budget);
    case CompareOperator::not_in:
      return negated(contains(right, left, budget));
  }
  return fail(ErrorCode::internal, "unknown comparison");
}

}  // namespace tetrad::jinja
