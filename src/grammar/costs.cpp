#include "grammar/costs.h"

#include <algorithm>
#include <utility>

namespace tetrad::grammar {

int64_t sequence_cost(const Grammar& grammar, const Sequence& sequence, size_t begin) {
  int64_t total = 0;
  for (size_t i = begin; i < sequence.parts.size(); ++i)
    total = add_costs(total, grammar.least(sequence.parts[i]));
  return total;
}

int64_t item_cost(const Grammar& grammar, const List& list, int64_t index) {
  if (index >= list.max_items) return kNoMatch;
  const bool in_prefix = std::cmp_less(index, list.prefix.size());
  return grammar.least(in_prefix ? list.prefix[static_cast<size_t>(index)] : list.rest);
}

int64_t list_cost(const Grammar& grammar, const List& list, int64_t count) {
  if (list.min_items > list.max_items) return kNoMatch;
  const int64_t separator = grammar.least(list.separator);
  const auto prefix_size = static_cast<int64_t>(list.prefix.size());
  int64_t total = grammar.least(list.close);
  int64_t index = count;
  for (; index < std::min(list.min_items, prefix_size); ++index) {
    total = add_costs(total, item_cost(grammar, list, index));
    if (index > 0) total = add_costs(total, separator);
  }
  const int64_t rest = list.min_items - index;
  if (rest <= 0) return total;
  const int64_t item = item_cost(grammar, list, index);
  if (item >= kNoMatch || separator >= kNoMatch || (item + separator) > kNoMatch / rest) {
    return rest == 1 && index == 0 ? add_costs(total, item) : kNoMatch;
  }
  return add_costs(total, rest * item + (index > 0 ? rest : rest - 1) * separator);
}

int64_t value_cost(const Grammar& grammar, const Members& members, size_t kind) {
  return add_costs(
      add_costs(grammar.least(members.between), grammar.least(members.kinds[kind].value)),
      grammar.least(members.after));
}

MembersView::MembersView(const Grammar& grammar, const Members& members, SeenKinds seen,
                         int64_t count)
    : grammar_(grammar),
      members_(members),
      seen_(seen),
      count_(count),
      separator_cost_(grammar.least(members.separator)) {
  for (size_t kind = 0; kind < members_.kinds.size(); ++kind) {
    if (!members_.kinds[kind].required || has_kind(seen_, kind)) continue;
    ++num_missing_;
    required_cost_ = add_costs(required_cost_, add_costs(member_cost(kind), separator_cost_));
  }
}

bool MembersView::may_come(size_t kind) const {
  const Members::Kind& one = members_.kinds[kind];
  if (!grammar_.matches_something(one.value)) return false;
  if (one.once && has_kind(seen_, kind)) return false;
  if (members_.max_members == kUnbounded) return true;
  const int64_t places = members_.max_members - count_;
  return places > (one.required ? 0 : num_missing_);
}

int64_t MembersView::cost_with(size_t kind) const {
  if (!members_.kinds[kind].required || has_kind(seen_, kind)) {
    return cost_behind(count_ + 1, num_missing_, required_cost_, &kind);
  }
  const int64_t own = add_costs(member_cost(kind), separator_cost_);
  if (own >= kNoMatch || required_cost_ >= kNoMatch) return kNoMatch;
  return cost_behind(count_ + 1, num_missing_ - 1, required_cost_ - own, &kind);
}

int64_t MembersView::cost_behind(int64_t count, int64_t num_missing, int64_t required_cost,
                                 const size_t* also_seen) const {
  const int64_t have = count + num_missing;
  if (std::max(have, members_.min_members) > members_.max_members) return kNoMatch;
  const int64_t extra = std::max<int64_t>(members_.min_members - have, 0);
  int64_t total = add_costs(grammar_.least(members_.close), required_cost);
  if (extra > 0) total = add_costs(total, optional_cost(extra, also_seen));
  // The first member of all has no separator in front.
  const bool adds_first = count == 0 && have + extra > 0;
  return adds_first && total < kNoMatch ? total - separator_cost_ : total;
}

/// The cheapest `num` members besides the required ones, each with a separator.
int64_t MembersView::optional_cost(int64_t num, const size_t* also_seen) const {
  std::vector<int64_t> once;
  int64_t often = kNoMatch;
  for (size_t kind = 0; kind < members_.kinds.size(); ++kind) {
    const Members::Kind& one = members_.kinds[kind];
    if (one.required || (one.once && has_kind(seen_, kind))) continue;
    if (one.once && also_seen != nullptr && *also_seen == kind) continue;
    const int64_t cost = add_costs(member_cost(kind), separator_cost_);
    if (one.once && cost < kNoMatch) once.push_back(cost);
    if (!one.once) often = std::min(often, cost);
  }
  std::ranges::sort(once);
  int64_t total = 0;
  for (int64_t i = 0; i < num && total < kNoMatch; ++i) {
    const bool has_once = std::cmp_less(i, once.size()) && once[static_cast<size_t>(i)] < often;
    // Once the repeatable kind is the cheapest it stays so: the others ascend.
    if (!has_once) {
      return often >= kNoMatch / (num - i) ? kNoMatch : add_costs(total, (num - i) * often);
    }
    total = add_costs(total, once[static_cast<size_t>(i)]);
  }
  return total;
}

/// Of a whole member, its key included.
int64_t MembersView::member_cost(size_t kind) const {
  if (members_.keys->empty()) return kNoMatch;
  const auto& labels = members_.reach->states[ByteDfa::kStart];
  const auto label = static_cast<int32_t>(kind);
  const auto found = std::ranges::lower_bound(labels, label, {}, &KeyReach::Label::label);
  if (found == labels.end() || found->label != label) return kNoMatch;
  return add_costs(found->min_bytes, value_cost(grammar_, members_, kind));
}

}  // namespace tetrad::grammar
