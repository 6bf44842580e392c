#include <algorithm>
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

/// Lists of `linecount` items each; the last one is filled up if there is something to fill with.
Result<Value> batch(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args,
                bind("batch", arguments, {{"linecount", {}}, {"fill_with", Value::none()}}));
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const int64_t size, integer_argument("batch: linecount", args[0]));
  TETRAD_ASSIGN(auto source, iterate(subject));
  auto carried = std::make_shared<std::optional<Value>>();  // taken, but belongs to the next list
  auto next = [source, carried, size, fill = args[1], &budget]() -> Result<std::optional<Value>> {
    std::vector<Value> items;
    if (*carried) items.push_back(*std::exchange(*carried, std::nullopt));
    for (;;) {
      TETRAD_TRY(budget.spend());
      TETRAD_ASSIGN(auto item, source->next());
      if (!item) break;
      if (static_cast<int64_t>(items.size()) == size) {
        *carried = std::move(item);
        TETRAD_ASSIGN(Value full, Value::list(std::move(items), budget));
        return full;
      }
      items.push_back(std::move(*item));
    }
    if (items.empty()) return std::nullopt;
    const int64_t missing = size - static_cast<int64_t>(items.size());
    if (!fill.is_none() && missing > 0) {
      TETRAD_TRY(budget.spend(missing));
      items.insert(items.end(), static_cast<size_t>(missing), fill);
    }
    TETRAD_ASSIGN(Value rest, Value::list(std::move(items), budget));
    return rest;
  };
  const int depth = std::max(subject.depth(), args[1].depth()) + 2;
  return FunctionIterator::make(std::move(next), depth);
}

/// The items in a given number of lists of nearly the same length.
Result<Value> slice(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args,
                bind("slice", arguments, {{"slices", {}}, {"fill_with", Value::none()}}));
  Budget& budget = interpreter.budget();
  TETRAD_ASSIGN(const int64_t slices, integer_argument("slice: slices", args[0]));
  TETRAD_ASSIGN(const std::vector<Value> items, collect(subject, budget));
  if (slices == 0) return fail(ErrorCode::invalid_argument, "slice: division by zero");
  TETRAD_TRY(budget.spend(std::max<int64_t>(0, slices)));
  const auto length = static_cast<int64_t>(items.size());
  const int64_t with_extra = slices > 0 ? length % slices : 0;
  std::vector<Value> parts;
  int64_t start = 0;
  for (int64_t i = 0; i < slices; ++i) {
    const int64_t end = start + length / slices + (i < with_extra ? 1 : 0);
    std::vector<Value> part(items.begin() + start, items.begin() + end);
    if (!args[1].is_none() && i >= with_extra) part.push_back(args[1]);
    TETRAD_ASSIGN(Value list, Value::list(std::move(part), budget));
    parts.push_back(std::move(list));
    start = end;
  }
  TETRAD_ASSIGN(const Value all, Value::list(std::move(parts), budget));
  TETRAD_ASSIGN(auto iterator, iterate(all));
  return Value::object(std::move(iterator));
}

struct GroupOptions {
  KeyPath path;
  std::optional<Value> fallback;
  bool case_sensitive = false;

  Result<Value> label(const Value& item, Budget& budget) const {
    return path.get(item, budget, fallback);
  }
  Result<Value> key(const Value& item, Budget& budget) const {
    TETRAD_ASSIGN(const Value value, label(item, budget));
    return case_sensitive ? value : ignore_case(value, budget);
  }
};

Result<Value> make_group(const GroupOptions& options, std::vector<Value> members, Budget& budget) {
  TETRAD_ASSIGN(Value label, options.label(members.front(), budget));
  TETRAD_ASSIGN(Value list, Value::list(std::move(members), budget));
  return Value::group(std::move(label), std::move(list), budget);
}

/// Pairs of a key and the list of items with it, sorted by key.
Result<Value> group_by(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  TETRAD_ASSIGN(const auto args, bind("groupby", arguments,
                                      {{"attribute", {}},
                                       {"default", Value::none()},
                                       {"case_sensitive", Value::boolean(false)}}));
  Budget& budget = interpreter.budget();
  GroupOptions options;
  TETRAD_ASSIGN(options.path, KeyPath::parse(args[0]));
  if (!args[1].is_none()) options.fallback = args[1];
  options.case_sensitive = args[2].truthy();
  TETRAD_ASSIGN(const std::vector<Value> items, collect(subject, budget));
  std::vector<Keyed> keyed;
  for (const Value& item : items) {
    TETRAD_ASSIGN(Value key, options.key(item, budget));
    keyed.push_back({std::move(key), item});
  }
  TETRAD_TRY(sort_keyed(
      keyed, [&](const Value& a, const Value& b) { return less_than(a, b, budget); }, false));

  std::vector<Value> groups;
  std::vector<Value> members;
  for (size_t i = 0; i < keyed.size(); ++i) {
    members.push_back(keyed[i].value);
    if (i + 1 < keyed.size()) {
      TETRAD_ASSIGN(const bool same, equals(keyed[i].key, keyed[i + 1].key, budget));
      if (same) continue;
    }
    TETRAD_ASSIGN(Value group, make_group(options, std::exchange(members, {}), budget));
    groups.push_back(std::move(group));
  }
  return Value::list(std::move(groups), budget);
}

constexpr std::array<NamedFunction, 3> kGroupingFilters = {{
    {"batch", batch},
    {"slice", slice},
    {"groupby", group_by},
}};

}  // namespace

std::span<const NamedFunction> grouping_filters() {
  return kGroupingFilters;
}

}  // namespace tetrad::jinja
