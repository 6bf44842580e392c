#include "chat/jinja/tests.h"

#include <array>

#include "chat/jinja/arguments.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/python_text.h"

namespace tetrad::jinja {
namespace {

/// A test without arguments that looks at the value only.
template <bool (*Holds)(const Value&)>
Result<Value> plain(Interpreter&, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("the test", arguments, {}));
  return Value::boolean(Holds(subject));
}

bool is_defined(const Value& value) {
  return !value.is_undefined();
}
bool is_undefined(const Value& value) {
  return value.is_undefined();
}
bool is_none(const Value& value) {
  return value.is_none();
}
bool is_boolean(const Value& value) {
  return value.kind() == Kind::boolean;
}
bool is_true(const Value& value) {
  return is_boolean(value) && value.as_boolean();
}
bool is_false(const Value& value) {
  return is_boolean(value) && !value.as_boolean();
}
bool is_integer(const Value& value) {
  return value.kind() == Kind::integer;
}
bool is_float(const Value& value) {
  return value.kind() == Kind::floating;
}
bool is_number(const Value& value) {
  return value.is_number();
}
bool is_string(const Value& value) {
  return value.is_string();
}
bool is_mapping(const Value& value) {
  return value.is_dict();
}
/// Has a length and items; undefined has, too.
bool is_sequence(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is_sequence() || value.is_dict() ||
         value.kind() == Kind::range;
}
bool is_iterable(const Value& value) {
  return iterate(value).has_value();
}
/// Undefined counts as callable in Jinja: calling it is what raises its error.
bool is_callable(const Value& value) {
  return value.is_undefined() || (value.is_object() && value.as_object().is_callable());
}
bool is_escaped(const Value& value) {
  return value.is_string() && value.as_string().is_markup;
}

template <CompareOperator op>
Result<Value> compare(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind(symbol_of(op), arguments, {{"other", {}}}));
  TETRAD_ASSIGN(const bool holds, apply_compare(op, subject, args[0], interpreter.budget()));
  return Value::boolean(holds);
}

Result<Value> is_same_as(Interpreter&, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("sameas", arguments, {{"other", {}}}));
  return Value::boolean(subject.is_same(args[0]));
}

Result<Value> remainder_is(Interpreter& interpreter, const Value& subject, const Value& divisor,
                           Int wanted) {
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const Value rest, apply_binary(BinaryOperator::modulo, subject, divisor, budget));
  TETRAD_ASSIGN(const bool same, equals(rest, Value::integer(wanted), budget));
  return Value::boolean(same);
}

Result<Value> is_odd(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("odd", arguments, {}));
  return remainder_is(interpreter, subject, Value::integer(2), 1);
}

Result<Value> is_even(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("even", arguments, {}));
  return remainder_is(interpreter, subject, Value::integer(2), 0);
}

Result<Value> is_divisible_by(Interpreter& interpreter, const Value& subject,
                              const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("divisibleby", arguments, {{"num", {}}}));
  return remainder_is(interpreter, subject, args[0], 0);
}

/// lower and upper: of the text of any value.
Result<Value> text_is(Interpreter& interpreter, const Value& subject, const Arguments& arguments,
                      std::string_view method) {
  TETRAD_ASSIGN(const Value text, to_string_value(subject, interpreter.budget()));
  return find_function(string_case_methods(), method)(interpreter, text, arguments);
}

Result<Value> is_lower_text(Interpreter& interpreter, const Value& subject,
                            const Arguments& arguments) {
  return text_is(interpreter, subject, arguments, "islower");
}

Result<Value> is_upper_text(Interpreter& interpreter, const Value& subject,
                            const Arguments& arguments) {
  return text_is(interpreter, subject, arguments, "isupper");
}

Result<Value> is_filter(Interpreter&, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("filter", arguments, {}));
  return Value::boolean(subject.is_string() && find_filter(subject.bytes()) != nullptr);
}

Result<Value> is_test(Interpreter&, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("test", arguments, {}));
  return Value::boolean(subject.is_string() && find_test(subject.bytes()) != nullptr);
}

constexpr std::array<NamedFunction, 39> kTests = {{
    {"defined", plain<is_defined>},
    {"undefined", plain<is_undefined>},
    {"none", plain<is_none>},
    {"boolean", plain<is_boolean>},
    {"true", plain<is_true>},
    {"false", plain<is_false>},
    {"integer", plain<is_integer>},
    {"float", plain<is_float>},
    {"number", plain<is_number>},
    {"string", plain<is_string>},
    {"mapping", plain<is_mapping>},
    {"sequence", plain<is_sequence>},
    {"iterable", plain<is_iterable>},
    {"callable", plain<is_callable>},
    {"escaped", plain<is_escaped>},
    {"sameas", is_same_as},
    {"odd", is_odd},
    {"even", is_even},
    {"divisibleby", is_divisible_by},
    {"lower", is_lower_text},
    {"upper", is_upper_text},
    {"filter", is_filter},
    {"test", is_test},
    {"in", compare<CompareOperator::in>},
    {"==", compare<CompareOperator::eq>},
    {"eq", compare<CompareOperator::eq>},
    {"equalto", compare<CompareOperator::eq>},
    {"!=", compare<CompareOperator::ne>},
    {"ne", compare<CompareOperator::ne>},
    {">", compare<CompareOperator::gt>},
    {"gt", compare<CompareOperator::gt>},
    {"greaterthan", compare<CompareOperator::gt>},
    {">=", compare<CompareOperator::ge>},
    {"ge", compare<CompareOperator::ge>},
    {"<", compare<CompareOperator::lt>},
    {"lt", compare<CompareOperator::lt>},
    {"lessthan", compare<CompareOperator::lt>},
    {"<=", compare<CompareOperator::le>},
    {"le", compare<CompareOperator::le>},
}};

}  // namespace

Function find_test(std::string_view name) {
  return find_function(kTests, name);
}

}  // namespace tetrad::jinja
