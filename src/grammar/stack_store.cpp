#include "grammar/stack_store.h"

#include "base/splitmix.h"
#include "grammar/costs.h"

namespace tetrad::grammar {
namespace {

uint64_t frame_hash(const Frame& frame, StackId below) {
  uint64_t hash = splitmix(static_cast<uint64_t>(static_cast<uint32_t>(frame.node)) << 32 |
                           static_cast<uint32_t>(below));
  hash = splitmix(hash ^ (static_cast<uint64_t>(static_cast<uint32_t>(frame.state)) << 8 |
                          static_cast<uint64_t>(frame.phase)));
  return splitmix(hash ^
                  (static_cast<uint64_t>(frame.count) << 24 ^ static_cast<uint64_t>(frame.seen)));
}

uint64_t kinds_hash(const std::vector<uint64_t>& kinds) {
  uint64_t hash = kinds.size();
  for (const uint64_t word : kinds)
    hash = splitmix(hash ^ word);
  return hash;
}

}  // namespace

StackId StackStore::push(StackId below, const Frame& frame) {
  const uint64_t hash = frame_hash(frame, below);
  const auto [begin, end] = ids_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const Entry& known = entry(it->second);
    if (known.frame == frame && known.below == below) return it->second;
  }
  const auto id = static_cast<StackId>(entries_.size());
  entries_.push_back({.frame = frame,
                      .below = below,
                      .depth = depth(below) + 1,
                      .min_bytes = add_costs(rest_cost(frame), min_bytes(below))});
  ids_.emplace(hash, id);
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
  const uint64_t hash = kinds_hash(kinds);
  const auto [begin, end] = kind_set_ids_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (kind_sets_[static_cast<size_t>(it->second)] == kinds) return it->second;
  }
  const auto id = static_cast<int32_t>(kind_sets_.size());
  kind_sets_.push_back(std::move(kinds));
  kind_set_ids_.emplace(hash, id);
  return id;
}

}  // namespace tetrad::grammar
