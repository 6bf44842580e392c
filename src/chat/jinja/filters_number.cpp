#include <fmt/format.h>

#include <array>
#include <cmath>

#include "chat/jinja/arguments.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/key_path.h"
#include "chat/jinja/number_text.h"
#include "chat/jinja/operators.h"

namespace tetrad::jinja {
namespace {

Result<Value> absolute(Interpreter&, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("abs", arguments, {}));
  if (subject.kind() == Kind::floating) return Value::floating(std::fabs(subject.as_floating()));
  if (subject.is_integral() && subject.as_integer() < 0) return negate(subject);
  return subject.is_integral() ? Value::integer(subject.as_integer()) : negate(subject);
}

/// int(float): an error for what is no integer at all, as in Python.
Result<Value> integer_of(double value) {
  const auto whole = truncate_to_int(value);
  if (whole) return Value::integer(*whole);
  return fail(ErrorCode::invalid_argument, "cannot convert {} to an integer", float_text(value));
}

Result<Value> to_int(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(
      const auto args,
      bind("int", arguments, {{"default", Value::integer(0)}, {"base", Value::integer(10)}}));
  if (subject.is_undefined())
    return fail(ErrorCode::invalid_argument, "{}", subject.why_undefined());
  if (subject.is_integral()) return Value::integer(subject.as_integer());
  if (subject.kind() == Kind::floating) return integer_of(subject.as_floating());
  if (!subject.is_string()) return args[0];
  TETRAD_ASSIGN(const int64_t base, integer_argument("int: the base", args[1]));
  TETRAD_TRY(interpreter.budget().spend_bytes(subject.bytes().size()));
  if (base == 0 || (base >= 2 && base <= 36)) {
    if (const auto whole = parse_int(subject.bytes(), static_cast<int>(base))) {
      return Value::integer(*whole);
    }
  }
  // "42.23" is 42
  const auto number = parse_float(subject.bytes());
  if (!number || std::isnan(*number)) return args[0];
  return integer_of(*number);
}

Result<Value> to_float(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("float", arguments, {{"default", Value::floating(0.0)}}));
  if (subject.is_undefined())
    return fail(ErrorCode::invalid_argument, "{}", subject.why_undefined());
  if (subject.is_number()) return Value::floating(subject.as_number());
  if (!subject.is_string()) return args[0];
  TETRAD_TRY(interpreter.budget().spend_bytes(subject.bytes().size()));
  const auto number = parse_float(subject.bytes());
  return number ? Value::floating(*number) : args[0];
}

/// round(int, negative digits): to the nearest multiple of a power of ten, ties to even.
Result<Int> round_integer(Int value, int64_t digits) {
  constexpr int64_t kAllDigits = 38;
  if (digits >= 0) return value;
  if (digits < -kAllDigits) return 0;
  Int unit = 1;
  for (int64_t i = 0; i < -digits; ++i)
    unit *= 10;
  const Int quotient = floor_divide(value, unit).value_or(0);
  const Int rest = floor_modulo(value, unit).value_or(0);
  const bool up = rest > unit - rest || (rest == unit - rest && (quotient & 1) != 0);
  Int result = 0;
  if (__builtin_mul_overflow(quotient + (up ? 1 : 0), unit, &result)) {
    return fail(ErrorCode::invalid_argument, "an integer of more than 127 bits");
  }
  return result;
}

/// round(float, digits): the decimal nearest to the exact value of the double.
double round_float(double value, int64_t digits) {
  constexpr int64_t kAllFraction = 330;
  if (!std::isfinite(value) || digits > kAllFraction) return value;
  if (digits < -kAllFraction) return std::copysign(0.0, value);
  if (digits >= 0) {
    return parse_float(fmt::format("{:.{}f}", value, digits)).value_or(value);
  }
  const double unit = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / unit) * unit;
}

Result<Value> round(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args,
                bind("round", arguments,
                     {{"precision", Value::integer(0)}, {"method", Value::string("common")}}));
  TETRAD_ASSIGN(const std::string_view method, string_argument("round: the method", args[1]));
  if (method != "common" && method != "ceil" && method != "floor") {
    return fail(ErrorCode::invalid_argument, "round: the method must be common, ceil or floor");
  }
  if (subject.is_undefined())
    return fail(ErrorCode::invalid_argument, "{}", subject.why_undefined());
  if (!subject.is_number()) {
    return fail(ErrorCode::invalid_argument, "round: '{}' is not a number", subject.type_name());
  }
  TETRAD_ASSIGN(const int64_t digits, integer_argument("round: the precision", args[0]));
  if (method == "common") {
    if (!subject.is_integral()) return Value::floating(round_float(subject.as_floating(), digits));
    TETRAD_ASSIGN(const Int rounded, round_integer(subject.as_integer(), digits));
    return Value::integer(rounded);
  }
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const Value factor,
                apply_binary(BinaryOperator::power, Value::integer(10), args[0], budget));
  TETRAD_ASSIGN(const Value scaled,
                apply_binary(BinaryOperator::multiply, subject, factor, budget));
  Value whole = scaled;
  if (!scaled.is_integral()) {
    const double number = scaled.as_floating();
    TETRAD_ASSIGN(whole, integer_of(method == "ceil" ? std::ceil(number) : std::floor(number)));
  }
  return apply_binary(BinaryOperator::divide, whole, factor, budget);
}

Result<Value> sum(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(
      const auto args,
      bind("sum", arguments, {{"attribute", Value::none()}, {"start", Value::integer(0)}}));
  Budget& budget = interpreter.budget();
  if (args[1].is_string()) {
    return fail(ErrorCode::invalid_argument, "sum() can't sum strings, use join");
  }
  TETRAD_ASSIGN(const KeyPath path, KeyPath::parse(args[0]));
  TETRAD_ASSIGN(const std::vector<Value> items, collect(subject, budget));
  Value total = args[1];
  for (const Value& item : items) {
    TETRAD_ASSIGN(const Value part, path.get(item, budget));
    TETRAD_ASSIGN(total, apply_binary(BinaryOperator::add, total, part, budget));
  }
  return total;
}

constexpr std::array<NamedFunction, 5> kNumberFilters = {{
    {"abs", absolute},
    {"int", to_int},
    {"float", to_float},
    {"round", round},
    {"sum", sum},
}};

}  // namespace

std::span<const NamedFunction> number_filters() {
  return kNumberFilters;
}

}  // namespace tetrad::jinja
