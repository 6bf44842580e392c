#pragma once

// Python's operators.

#include "chat/jinja/value.h"

namespace tetrad::jinja {

enum class BinaryOperator : uint8_t {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power
};
enum class CompareOperator : uint8_t { eq, ne, lt, le, gt, ge, in, not_in };

/// "+", "//", …: for error messages.
std::string_view symbol_of(BinaryOperator op);
std::string_view symbol_of(CompareOperator op);

Result<Value> apply_binary(BinaryOperator op, const Value& left, const Value& right,
                           Budget& budget);
Result<Value> negate(const Value& operand);
/// Unary plus.
Result<Value> posit(const Value& operand);

/// ==: never fails for values of different types, they are just not equal.
Result<bool> equals(const Value& left, const Value& right, Budget& budget);
/// <: only numbers with numbers, strings with strings, lists with lists, tuples with tuples.
Result<bool> less_than(const Value& left, const Value& right, Budget& budget);
/// `item in container`.
Result<bool> contains(const Value& container, const Value& item, Budget& budget);
Result<bool> apply_compare(CompareOperator op, const Value& left, const Value& right,
                           Budget& budget);

/// % and // of integers, rounding towards minus infinity; nothing for a zero divisor.
std::optional<Int> floor_modulo(Int left, Int right);
std::optional<Int> floor_divide(Int left, Int right);

}  // namespace tetrad::jinja
