#include <algorithm>
#include <cmath>
#include <limits>

#include "chat/jinja/iteration.h"
#include "chat/jinja/markup.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/printf_format.h"
#include "chat/jinja/string_tools.h"

namespace tetrad::jinja {
namespace {

tl::unexpected<Error> too_large() {
  return fail(ErrorCode::invalid_argument, "an integer of more than 127 bits");
}

tl::unexpected<Error> division_by_zero() {
  return fail(ErrorCode::invalid_argument, "division by zero");
}

Result<Int> integer_power(Int base, Int exponent) {
  Int result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return too_large();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return too_large();
  }
  return result;
}

Result<Value> float_power(double base, double exponent) {
  if (base == 0.0 && exponent < 0) return division_by_zero();
  const double result = std::pow(base, exponent);
  if (std::isnan(result) && !std::isnan(base) && !std::isnan(exponent)) {
    return fail(ErrorCode::unsupported, "the power is a complex number");
  }
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    return fail(ErrorCode::invalid_argument, "the power is too large");
  }
  return Value::floating(result);
}

/// Python's float %: the sign of the divisor.
double float_modulo(double left, double right) {
  const double rest = std::fmod(left, right);
  if (rest == 0.0) return std::copysign(0.0, right);
  return (rest < 0) != (right < 0) ? rest + right : rest;
}

double float_floor_divide(double left, double right) {
  const double quotient = (left - float_modulo(left, right)) / right;
  if (quotient == 0.0) return std::copysign(0.0, left / right);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1.0 : whole;
}

Result<Value> integer_arithmetic(BinaryOperator op, Int left, Int right) {
  Int result = 0;
  switch (op) {
    case BinaryOperator::add:
      if (__builtin_add_overflow(left, right, &result)) return too_large();
      return Value::integer(result);
    case BinaryOperator::subtract:
      if (__builtin_sub_overflow(left, right, &result)) return too_large();
      return Value::integer(result);
    case BinaryOperator::multiply:
      if (__builtin_mul_overflow(left, right, &result)) return too_large();
      return Value::integer(result);
    case BinaryOperator::divide:
      if (right == 0) return division_by_zero();
      return Value::floating(static_cast<double>(left) / static_cast<double>(right));
    case BinaryOperator::floor_divide:
    case BinaryOperator::modulo: {
      const auto quotient =
          op == BinaryOperator::modulo ? floor_modulo(left, right) : floor_divide(left, right);
      if (!quotient) return right == 0 ? division_by_zero() : too_large();
      return Value::integer(*quotient);
    }
    case BinaryOperator::power: {
      if (right < 0) return float_power(static_cast<double>(left), static_cast<double>(right));
      TETRAD_ASSIGN(const Int power, integer_power(left, right));
      return Value::integer(power);
    }
  }
  return fail(ErrorCode::internal, "unknown operator");
}

Result<Value> float_arithmetic(BinaryOperator op, double left, double right) {
  switch (op) {
    case BinaryOperator::add:
      return Value::floating(left + right);
    case BinaryOperator::subtract:
      return Value::floating(left - right);
    case BinaryOperator::multiply:
      return Value::floating(left * right);
    case BinaryOperator::divide:
      if (right == 0.0) return division_by_zero();
      return Value::floating(left / right);
    case BinaryOperator::floor_divide:
      if (right == 0.0) return division_by_zero();
      return Value::floating(float_floor_divide(left, right));
    case BinaryOperator::modulo:
      if (right == 0.0) return division_by_zero();
      return Value::floating(float_modulo(left, right));
    case BinaryOperator::power:
      return float_power(left, right);
  }
  return fail(ErrorCode::internal, "unknown operator");
}

Result<Value> repeat_string(const String& text, Int count, Budget& budget) {
  constexpr Int kMany = std::numeric_limits<int64_t>::max();
  TETRAD_ASSIGN(
      std::string copies,
      repeated(text.bytes, static_cast<int64_t>(std::clamp(count, -kMany, kMany)), budget));
  return Value::string(std::move(copies), text.is_markup);
}

Result<Value> make_like(const Value& model, std::vector<Value> items, Budget& budget) {
  if (model.kind() == Kind::list) return Value::list(std::move(items), budget);
  return Value::tuple(std::move(items), budget);
}

Result<Value> repeat_sequence(const Value& sequence, Int count, Budget& budget) {
  const std::vector<Value>& items = sequence.items();
  std::vector<Value> repeated;
  if (count > 0 && !items.empty()) {
    const Int limit = std::numeric_limits<int64_t>::max() / static_cast<Int>(items.size());
    TETRAD_TRY(budget.spend(count > limit ? std::numeric_limits<int64_t>::max()
                                          : static_cast<int64_t>(count * items.size())));
    repeated.reserve(static_cast<size_t>(count) * items.size());
    for (Int i = 0; i < count; ++i)
      repeated.insert(repeated.end(), items.begin(), items.end());
  }
  return make_like(sequence, std::move(repeated), budget);
}

Result<Value> concatenate_strings(const Value& left, const Value& right, Budget& budget) {
  if (left.as_string().is_markup || right.as_string().is_markup) {
    TETRAD_ASSIGN(const Value safe_left, escape_html(left, budget));
    TETRAD_ASSIGN(const Value safe_right, escape_html(right, budget));
    TETRAD_TRY(budget.spend_bytes(safe_left.bytes().size() + safe_right.bytes().size()));
    return Value::string(safe_left.bytes() + safe_right.bytes(), true);
  }
  TETRAD_TRY(budget.spend_bytes(left.bytes().size() + right.bytes().size()));
  return Value::string(left.bytes() + right.bytes());
}

Result<Value> concatenate_sequences(const Value& left, const Value& right, Budget& budget) {
  std::vector<Value> items;
  items.reserve(left.items().size() + right.items().size());
  items.insert(items.end(), left.items().begin(), left.items().end());
  items.insert(items.end(), right.items().begin(), right.items().end());
  return make_like(left, std::move(items), budget);
}

Result<Value> repeat(const Value& value, Int count, Budget& budget) {
  if (value.is_string()) return repeat_string(value.as_string(), count, budget);
  return repeat_sequence(value, count, budget);
}

}  // namespace

std::string_view symbol_of(BinaryOperator op) {
  switch (op) {
    case BinaryOperator::add:
      return "+";
    case BinaryOperator::subtract:
      return "-";
    case BinaryOperator::multiply:
      return "*";
    case BinaryOperator::divide:
      return "/";
    case BinaryOperator::floor_divide:
      return "//";
    case BinaryOperator::modulo:
      return "%";
    case BinaryOperator::power:
      return "**";
  }
  return "?";
}

std::optional<Int> floor_modulo(Int left, Int right) {
  if (right == 0) return std::nullopt;
  if (right == -1) return 0;  // the smallest integer divided by -1 overflows
  const Int rest = left % right;
  return rest != 0 && (rest < 0) != (right < 0) ? rest + right : rest;
}

std::optional<Int> floor_divide(Int left, Int right) {
  if (right == 0) return std::nullopt;
  if (right == -1) {
    Int result = 0;
    if (__builtin_sub_overflow(Int{0}, left, &result)) return std::nullopt;
    return result;
  }
  const Int quotient = left / right;
  return left % right != 0 && (left < 0) != (right < 0) ? quotient - 1 : quotient;
}

Result<Value> apply_binary(BinaryOperator op, const Value& left, const Value& right,
                           Budget& budget) {
  if (left.is_undefined()) return fail(ErrorCode::invalid_argument, "{}", left.why_undefined());
  if (op == BinaryOperator::modulo && left.is_string()) {
    return format_printf(left.as_string(), right, budget);
  }
  if (right.is_undefined()) return fail(ErrorCode::invalid_argument, "{}", right.why_undefined());
  if (left.is_integral() && right.is_integral()) {
    return integer_arithmetic(op, left.as_integer(), right.as_integer());
  }
  if (left.is_number() && right.is_number()) {
    return float_arithmetic(op, left.as_number(), right.as_number());
  }
  if (op == BinaryOperator::add && left.kind() == right.kind()) {
    if (left.is_string()) return concatenate_strings(left, right, budget);
    if (left.is_sequence()) return concatenate_sequences(left, right, budget);
  }
  if (op == BinaryOperator::multiply) {
    const bool left_repeats = left.is_string() || left.is_sequence();
    const bool right_repeats = right.is_string() || right.is_sequence();
    if (left_repeats && right.is_integral()) return repeat(left, right.as_integer(), budget);
    if (right_repeats && left.is_integral()) return repeat(right, left.as_integer(), budget);
  }
  return fail(ErrorCode::invalid_argument, "unsupported operand type(s) for {}: '{}' and '{}'",
              symbol_of(op), left.type_name(), right.type_name());
}

Result<Value> negate(const Value& operand) {
  if (operand.is_integral()) {
    Int result = 0;
    if (__builtin_sub_overflow(Int{0}, operand.as_integer(), &result)) return too_large();
    return Value::integer(result);
  }
  if (operand.kind() == Kind::floating) return Value::floating(-operand.as_floating());
  if (operand.is_undefined())
    return fail(ErrorCode::invalid_argument, "{}", operand.why_undefined());
  return fail(ErrorCode::invalid_argument, "bad operand type for unary -: '{}'",
              operand.type_name());
}

Result<Value> posit(const Value& operand) {
  if (operand.is_integral()) return Value::integer(operand.as_integer());
  if (operand.kind() == Kind::floating) return operand;
  if (operand.is_undefined())
    return fail(ErrorCode::invalid_argument, "{}", operand.why_undefined());
  return fail(ErrorCode::invalid_argument, "bad operand type for unary +: '{}'",
              operand.type_name());
}

}  // namespace tetrad::jinja
