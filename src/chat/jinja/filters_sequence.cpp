#include <array>

#include "chat/jinja/arguments.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/iteration.h"
#include "chat/jinja/key_path.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/sorting.h"

namespace tetrad::jinja {
namespace {

LessThan less_with(Budget& budget) {
  return [&budget](const Value& a, const Value& b) { return less_than(a, b, budget); };
}

/// The key of an item that filters order by: its path, in lower case unless case matters.
Result<Value> key_of(const KeyPath& path, const Value& item, bool case_sensitive, Budget& budget) {
  TETRAD_ASSIGN(const Value key, path.get(item, budget));
  return case_sensitive ? key : ignore_case(key, budget);
}

Result<std::vector<Value>> values_of(std::vector<Keyed> items) {
  std::vector<Value> values;
  values.reserve(items.size());
  for (Keyed& item : items)
    values.push_back(std::move(item.value));
  return values;
}

Result<Value> sort(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("sort", arguments,
                                      {{"reverse", Value::boolean(false)},
                                       {"case_sensitive", Value::boolean(false)},
                                       {"attribute", Value::none()}}));
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const std::vector<KeyPath> paths, KeyPath::parse_list(args[2]));
  TETRAD_ASSIGN(const std::vector<Value> items, collect(subject, budget));
  std::vector<Keyed> keyed;
  keyed.reserve(items.size());
  for (const Value& item : items) {
    std::vector<Value> keys;  // compared as a list, so that equal keys are never compared with <
    for (const KeyPath& path : paths) {
      TETRAD_ASSIGN(Value key, key_of(path, item, args[1].truthy(), budget));
      keys.push_back(std::move(key));
    }
    TETRAD_ASSIGN(Value key, Value::list(std::move(keys), budget));
    keyed.push_back({std::move(key), item});
  }
  TETRAD_TRY(sort_keyed(keyed, less_with(budget), args[0].truthy()));
  TETRAD_ASSIGN(std::vector<Value> sorted, values_of(std::move(keyed)));
  return Value::list(std::move(sorted), budget);
}

Result<Value> dict_sort(Interpreter& interpreter, const Value& subject,
                        const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("dictsort", arguments,
                                      {{"case_sensitive", Value::boolean(false)},
                                       {"by", Value::string("key")},
                                       {"reverse", Value::boolean(false)}}));
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const std::string_view by, string_argument("dictsort: by", args[1]));
  if (by != "key" && by != "value") {
    return fail(ErrorCode::invalid_argument, "dictsort sorts by \"key\" or \"value\" only");
  }
  if (!subject.is_dict()) {
    return fail(
        ErrorCode::invalid_argument, "dictsort sorts a mapping, not {}",
        subject.is_undefined() ? subject.why_undefined() : std::string(subject.type_name()));
  }
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : subject.as_dict().entries()) {
    Value order = by == "key" ? key : value;
    if (!args[0].truthy()) {
      TETRAD_ASSIGN(order, ignore_case(order, budget));
    }
    keyed.push_back({std::move(order), Value::pair(key, value)});
  }
  TETRAD_TRY(sort_keyed(keyed, less_with(budget), args[2].truthy()));
  TETRAD_ASSIGN(std::vector<Value> sorted, values_of(std::move(keyed)));
  return Value::list(std::move(sorted), budget);
}

/// The first item that no other one beats.
Result<Value> extreme(Interpreter& interpreter, const Value& subject, const Arguments& arguments,
                      bool wants_larger) {
  TETRAD_ASSIGN(const auto args,
                bind("min", arguments,
                     {{"case_sensitive", Value::boolean(false)}, {"attribute", Value::none()}}));
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const KeyPath path, KeyPath::parse(args[1]));
  TETRAD_ASSIGN(const std::vector<Value> items, collect(subject, budget));
  std::optional<Keyed> best;
  for (const Value& item : items) {
    TETRAD_ASSIGN(Value key, key_of(path, item, args[0].truthy(), budget));
    if (best) {
      TETRAD_ASSIGN(const bool wins, wants_larger ? less_than(best->key, key, budget)
                                                  : less_than(key, best->key, budget));
      if (!wins) continue;
    }
    best = Keyed{std::move(key), item};
  }
  return best ? best->value : Value::undefined("No aggregated item, sequence was empty.");
}

Result<Value> minimum(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return extreme(interpreter, subject, arguments, false);
}

Result<Value> maximum(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return extreme(interpreter, subject, arguments, true);
}

Result<Value> unique(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args,
                bind("unique", arguments,
                     {{"case_sensitive", Value::boolean(false)}, {"attribute", Value::none()}}));
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const KeyPath path, KeyPath::parse(args[1]));
  TETRAD_ASSIGN(auto source, iterate(subject));
  auto seen = std::make_shared<Dict>();
  const bool case_sensitive = args[0].truthy();
  auto next = [source, path, seen, case_sensitive, &budget]() -> Result<std::optional<Value>> {
    for (;;) {
      TETRAD_TRY(budget.spend());
      TETRAD_ASSIGN(auto item, source->next());
      if (!item) return std::nullopt;
      TETRAD_ASSIGN(Value key, key_of(path, *item, case_sensitive, budget));
      TETRAD_ASSIGN(const Value* known, seen->find(key, budget));
      if (known != nullptr) continue;
      TETRAD_TRY(seen->insert(std::move(key), Value::none(), budget));
      return item;
    }
  };
  return FunctionIterator::make(std::move(next), subject.depth() + 1);
}

constexpr std::array<NamedFunction, 5> kSequenceFilters = {{
    {"sort", sort},
    {"dictsort", dict_sort},
    {"min", minimum},
    {"max", maximum},
    {"unique", unique},
}};

}  // namespace

std::span<const NamedFunction> sequence_filters() {
  return kSequenceFilters;
}

}  // namespace tetrad::jinja
