#include "grammar/stack_store.h"

#include "grammar/costs.h"

namespace tetrad::grammar {
namespace {

uint64_t frame_hash(const Frame& frame, StackId below) {
  uint64_t hash = static_cast<uint64_t>(frame.phase);
  for (const int64_t value : {int64_t{frame.node}, int64_t{below}, int64_t{frame.state},
                              int64_t{frame.seen}, frame.count}) {
    add_to_hash(hash, static_cast<uint64_t>(value));
  }
  return hash;
}

uint64_t kinds_hash(const std::vector<uint64_t>& kinds) {
  uint64_t hash = kinds.size();
  for (const uint64_t word : kinds)
    add_to_hash(hash, word);
  return hash;
}

}  // namespace

StackId StackStore::push(StackId below, const Frame& frame) {
  const auto next = static_cast<StackId>(entries_.size());
  const StackId id = ids_.find_or_add(frame_hash(frame, below), next, [&](StackId known) {
    return top(known) == frame && this->below(known) == below;
  });
  if (id != next) return id;
  entries_.push_back({.frame = frame,
                      .below = below,
                      .depth = depth(below) + 1,
                      .min_bytes = add_costs(rest_cost(frame), min_bytes(below))});
  return id;
}

/// What is left of the frame's node, but for the child above it.
int64_t StackStore::rest_cost(const Frame& frame) const {
  const Grammar& grammar = *grammar_;
  const Node& node = grammar.node(frame.node);
  if (const auto* text = std::get_if<Text>(&node)) return text->dfa->min_bytes(frame.state);
  if (std::holds_alternative<Special>(node)) return 1;
  if (const auto* sequence = std::get_if<Sequence>(&node)) {
    return sequence_cost(grammar, *sequence, static_cast<size_t>(frame.state));
  }
  if (const auto* list = std::get_if<List>(&node)) {
    switch (frame.phase) {
      case Phase::item:
        return list_cost(grammar, *list, frame.count + 1);
      case Phase::separator:
        return add_costs(item_cost(grammar, *list, frame.count),
                         list_cost(grammar, *list, frame.count + 1));
      default:
        return list_cost(grammar, *list, frame.count);
    }
  }
  const auto* members = std::get_if<Members>(&node);
  if (members == nullptr) return 0;  // choices have no frames
  const size_t num_kinds = members->kinds.size();
  const std::vector<uint64_t> seen = kinds(frame.seen, num_kinds);
  const MembersView view(grammar, *members, seen, frame.count);
  const auto kind = static_cast<size_t>(frame.state);
  switch (frame.phase) {
    case Phase::between:
      return add_costs(
          add_costs(grammar.least(members->kinds[kind].value), grammar.least(members->after)),
          view.cost_with(kind));
    case Phase::value:
      return add_costs(grammar.least(members->after), view.cost_with(kind));
    case Phase::after:
      return view.cost_with(kind);
    case Phase::key:
    case Phase::separator: {
      const auto state = frame.phase == Phase::key ? static_cast<size_t>(frame.state) : size_t{0};
      int64_t least = kNoMatch;
      for (const auto& [label, bytes] : members->reach->states[state]) {
        const auto next = static_cast<size_t>(label);
        if (!view.may_come(next)) continue;
        least = std::min(least, add_costs(add_costs(bytes, value_cost(grammar, *members, next)),
                                          view.cost_with(next)));
      }
      return least;
    }
    default:
      return view.cost();
  }
}

std::vector<uint64_t> StackStore::kinds(int32_t seen, size_t num_kinds) const {
  std::vector<uint64_t> set = kind_sets_[static_cast<size_t>(seen)];
  set.resize((num_kinds + 63) / 64);
  return set;
}

int32_t StackStore::with_kind(int32_t seen, size_t num_kinds, size_t kind) {
  std::vector<uint64_t> set = kinds(seen, num_kinds);
  set[kind / 64] |= uint64_t{1} << (kind % 64);
  return intern_kinds(std::move(set));
}

int32_t StackStore::intern_kinds(std::vector<uint64_t> kinds) {
  while (!kinds.empty() && kinds.back() == 0)
    kinds.pop_back();
  if (kinds.empty()) return 0;
  const auto next = static_cast<int32_t>(kind_sets_.size());
  const int32_t id = kind_set_ids_.find_or_add(kinds_hash(kinds), next, [&](int32_t known) {
    return kind_sets_[static_cast<size_t>(known)] == kinds;
  });
  if (id == next) kind_sets_.push_back(std::move(kinds));
  return id;
}

}  // namespace tetrad::grammar
