#include <algorithm>
#include <array>

#include "chat/jinja/arguments.h"
#include "chat/jinja/attributes.h"
#include "chat/jinja/dict_view.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/string_tools.h"
#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

Result<Value> default_value(Interpreter&, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args,
                bind("default", arguments,
                     {{"default_value", Value::string("")}, {"boolean", Value::boolean(false)}}));
  const bool is_absent = subject.is_undefined() || (args[1].truthy() && !subject.truthy());
  return is_absent ? args[0] : subject;
}

Result<Value> length(Interpreter&, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("length", arguments, {}));
  TETRAD_ASSIGN(const int64_t length, length_of(subject));
  return Value::integer(length);
}

Result<Value> list(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("list", arguments, {}));
  TETRAD_ASSIGN(std::vector<Value> items, collect(subject, interpreter.budget()));
  return Value::list(std::move(items), interpreter.budget());
}

Result<Value> first(Interpreter&, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("first", arguments, {}));
  TETRAD_ASSIGN(const auto iterator, iterate(subject));
  TETRAD_ASSIGN(const auto item, iterator->next());
  return item ? *item : Value::undefined("No first item, sequence was empty.");
}

Result<Value> last(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("last", arguments, {}));
  TETRAD_ASSIGN(const std::vector<Value> items, collect_reversed(subject, interpreter.budget()));
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.front();
}

Result<Value> reversed_text(const Value& text, Budget& budget) {
  SliceBounds backwards;
  backwards.step = Value::integer(-1);
  return get_slice(text, backwards, budget);
}

/// An iterator over values that are there already.
Result<Value> iterator_over(std::vector<Value> items, Budget& budget) {
  TETRAD_ASSIGN(const Value list, Value::list(std::move(items), budget));
  TETRAD_ASSIGN(auto iterator, iterate(list));
  return Value::object(std::move(iterator));
}

Result<Value> reverse(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("reverse", arguments, {}));
  Budget& budget = interpreter.budget();
  if (subject.is_string()) return reversed_text(subject, budget);
  const bool is_reversible = !subject.is_object() || subject.as_object().reversed().has_value();
  if (is_reversible) {
    TETRAD_ASSIGN(std::vector<Value> items, collect_reversed(subject, budget));
    return iterator_over(std::move(items), budget);
  }
  TETRAD_ASSIGN(std::vector<Value> items, collect(subject, budget));
  std::reverse(items.begin(), items.end());
  return Value::list(std::move(items), budget);
}

Result<Value> items(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_TRY(bind("items", arguments, {}));
  if (subject.is_undefined()) return iterator_over({}, interpreter.budget());
  if (!subject.is_dict()) {
    return fail(ErrorCode::invalid_argument, "Can only get item pairs from a mapping.");
  }
  const Value view = Value::object(std::make_shared<DictView>(subject, DictView::Part::items));
  TETRAD_ASSIGN(auto iterator, iterate(view));
  return Value::object(std::move(iterator));
}

/// An attribute only, never the item of a dictionary.
Result<Value> attribute(Interpreter&, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("attr", arguments, {{"name", {}}}));
  TETRAD_ASSIGN(const std::string_view name, string_argument("attr: the name", args[0]));
  if (subject.is_undefined())
    return fail(ErrorCode::invalid_argument, "{}", subject.why_undefined());
  TETRAD_ASSIGN(auto found, find_attribute(subject, name));
  if (found) return std::move(*found);
  return Value::undefined(
      fmt::format("'{} object' has no attribute '{}'", subject.type_name(), name));
}

constexpr std::array<NamedFunction, 10> kValueFilters = {{
    {"default", default_value},
    {"d", default_value},
    {"length", length},
    {"count", length},
    {"list", list},
    {"first", first},
    {"last", last},
    {"reverse", reverse},
    {"items", items},
    {"attr", attribute},
}};

}  // namespace

std::span<const NamedFunction> value_filters() {
  return kValueFilters;
}

}  // namespace tetrad::jinja
