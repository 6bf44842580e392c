#include <algorithm>
#include <array>

#include "chat/jinja/arguments.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/key_path.h"

namespace tetrad::jinja {
namespace {

int depth_of(const Value& subject, const Arguments& arguments) {
  int depth = subject.depth();
  for (const Value& value : arguments.positional)
    depth = std::max(depth, value.depth());
  for (const auto& [name, value] : arguments.keyword)
    depth = std::max(depth, value.depth());
  return depth + 1;
}

/// Nothing for what is false: map and select take even none as an empty sequence.
Result<Value> source_of(const Value& subject, Budget& budget) {
  if (subject.truthy()) return subject;
  return Value::list({}, budget);
}

/// What `map` does with an item.
using Mapping = std::function<Result<Value>(const Value&)>;

Result<Mapping> attribute_mapping(const Arguments& arguments, Budget& budget) {
  TETRAD_ASSIGN(const auto args,
                bind("map", arguments, {{"attribute", {}}, {"default", Value::none()}}));
  TETRAD_ASSIGN(const KeyPath path, KeyPath::parse(args[0]));
  const std::optional<Value> fallback = args[1].is_none() ? std::nullopt : std::optional(args[1]);
  return Mapping(
      [path, fallback, &budget](const Value& item) { return path.get(item, budget, fallback); });
}

Result<Mapping> filter_mapping(Interpreter& interpreter, Arguments arguments) {
  if (arguments.positional.empty()) {
    return fail(ErrorCode::invalid_argument, "map requires a filter argument");
  }
  TETRAD_ASSIGN(const std::string_view name,
                string_argument("map: the filter", arguments.positional.front()));
  const std::string filter(name);
  arguments.positional.erase(arguments.positional.begin());
  return Mapping([filter, arguments = std::move(arguments), &interpreter](const Value& item) {
    return interpreter.apply_filter(filter, item, arguments);
  });
}

Result<Value> map(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Budget& budget = interpreter.budget();
  if (!subject.truthy()) {
    return FunctionIterator::make([]() -> Result<std::optional<Value>> { return std::nullopt; }, 1);
  }
  const bool is_attribute =
      arguments.positional.empty() && arguments.find_keyword("attribute") != nullptr;
  TETRAD_ASSIGN(const Mapping mapping, is_attribute ? attribute_mapping(arguments, budget)
                                                    : filter_mapping(interpreter, arguments));
  TETRAD_ASSIGN(const auto source, iterate(subject));
  auto next = [source, mapping, &budget]() -> Result<std::optional<Value>> {
    TETRAD_TRY(budget.spend());
    TETRAD_ASSIGN(auto item, source->next());
    if (!item) return std::nullopt;
    TETRAD_ASSIGN(Value mapped, mapping(*item));
    return mapped;
  };
  return FunctionIterator::make(std::move(next), depth_of(subject, arguments));
}

/// Whether select and its relatives keep an item that passes the test, and what they test.
struct Selection {
  bool keeps_passing;
  bool looks_at_attribute;
};

Result<Value> select_by(Interpreter& interpreter, const Value& subject, Arguments arguments,
                        Selection selection) {
  const int depth = depth_of(subject, arguments);
  std::vector<Value>& positional = arguments.positional;
  Value attribute = Value::none();
  if (selection.looks_at_attribute) {
    if (positional.empty()) {
      return fail(ErrorCode::invalid_argument, "Missing parameter for attribute name");
    }
    attribute = positional.front();
    positional.erase(positional.begin());
  }
  TETRAD_ASSIGN(const KeyPath path, KeyPath::parse(attribute));
  std::optional<std::string> test;
  if (!positional.empty()) {
    TETRAD_ASSIGN(test, string_argument("the test", positional.front()));
    positional.erase(positional.begin());
  }
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const Value values, source_of(subject, budget));
  TETRAD_ASSIGN(const auto source, iterate(values));
  auto next = [source, path, test, arguments = std::move(arguments), selection,
               &interpreter]() -> Result<std::optional<Value>> {
    for (;;) {
      TETRAD_TRY(interpreter.budget().spend());
      TETRAD_ASSIGN(auto item, source->next());
      if (!item) return std::nullopt;
      TETRAD_ASSIGN(const Value tested, path.get(*item, interpreter.budget()));
      bool passes = tested.truthy();
      if (test) {
        TETRAD_ASSIGN(passes, interpreter.apply_test(*test, tested, arguments));
      }
      if (passes == selection.keeps_passing) return item;
    }
  };
  return FunctionIterator::make(std::move(next), depth);
}

template <bool keeps_passing, bool looks_at_attribute>
Result<Value> selection_filter(Interpreter& interpreter, const Value& subject,
                               const Arguments& arguments) {
  return select_by(interpreter, subject, arguments, {keeps_passing, looks_at_attribute});
}

constexpr std::array<NamedFunction, 5> kSelectionFilters = {{
    {"map", map},
    {"select", selection_filter<true, false>},
    {"reject", selection_filter<false, false>},
    {"selectattr", selection_filter<true, true>},
    {"rejectattr", selection_filter<false, true>},
}};

}  // namespace

std::span<const NamedFunction> selection_filters() {
  return kSelectionFilters;
}

}  // namespace tetrad::jinja
