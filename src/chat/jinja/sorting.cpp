#include "chat/jinja/sorting.h"

#include <algorithm>
#include <iterator>

#include "chat/jinja/operators.h"

namespace tetrad::jinja {
namespace {

/// Merges two sorted runs. std::stable_sort would need comparisons that cannot fail.
Result<std::vector<Keyed>> merge(std::vector<Keyed> left, std::vector<Keyed> right,
                                 const LessThan& less, bool reverse) {
  std::vector<Keyed> merged;
  merged.reserve(left.size() + right.size());
  auto a = left.begin();
  auto b = right.begin();
  while (a != left.end() && b != right.end()) {
    // The right element goes first only if it is really before the left one.
    TETRAD_ASSIGN(const bool right_first, reverse ? less(a->key, b->key) : less(b->key, a->key));
    merged.push_back(std::move(right_first ? *b++ : *a++));
  }
  std::move(a, left.end(), std::back_inserter(merged));
  std::move(b, right.end(), std::back_inserter(merged));
  return merged;
}

}  // namespace

Result<void> sort_keyed(std::vector<Keyed>& items, const LessThan& less, bool reverse) {
  for (size_t run = 1; run < items.size(); run *= 2) {
    std::vector<Keyed> sorted;
    sorted.reserve(items.size());
    for (size_t start = 0; start < items.size(); start += 2 * run) {
      const auto at = [&](size_t offset) {
        return std::make_move_iterator(items.begin() +
                                       static_cast<int64_t>(std::min(offset, items.size())));
      };
      TETRAD_ASSIGN(std::vector<Keyed> merged,
                    merge({at(start), at(start + run)}, {at(start + run), at(start + 2 * run)},
                          less, reverse));
      std::move(merged.begin(), merged.end(), std::back_inserter(sorted));
    }
    items = std::move(sorted);
  }
  return {};
}

Result<void> sort_values(std::vector<Value>& values, Budget& budget) {
  std::vector<Keyed> items;
  items.reserve(values.size());
  for (Value& value : values)
    items.push_back({value, value});
  TETRAD_TRY(sort_keyed(
      items, [&](const Value& a, const Value& b) { return less_than(a, b, budget); }, false));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = std::move(items[i].value);
  return {};
}

}  // namespace tetrad::jinja
