#include "grammar/byte_dfa.h"

#include <utility>

namespace tetrad::grammar {
namespace {

using ByteState = ByteDfa::State;

struct ByteTable {
  const std::vector<ByteState>& next;
  size_t num_states;
  size_t num_classes;

  ByteState at(ByteState state, size_t byte_class) const {
    return next[static_cast<size_t>(state) * num_classes + byte_class];
  }
};

std::vector<bool> reachable_byte_states(const ByteTable& table) {
  std::vector<bool> reached(table.num_states, false);
  std::vector<ByteState> waiting = {ByteDfa::kStart};
  reached[ByteDfa::kStart] = true;
  while (!waiting.empty()) {
    const ByteState state = waiting.back();
    waiting.pop_back();
    for (size_t c = 0; c < table.num_classes; ++c) {
      const ByteState next = table.at(state, c);
      if (next == ByteDfa::kDead || reached[static_cast<size_t>(next)]) continue;
      reached[static_cast<size_t>(next)] = true;
      waiting.push_back(next);
    }
  }
  return reached;
}

/// The states that lead to each state, one list behind the other.
class Predecessors {
 public:
  explicit Predecessors(const ByteTable& table) : first_(table.num_states + 1, 0) {
    for_each_edge(table, [&](ByteState, ByteState to) { ++first_[static_cast<size_t>(to) + 1]; });
    for (size_t i = 1; i < first_.size(); ++i)
      first_[i] += first_[i - 1];
    states_.resize(first_.back());
    std::vector<size_t> place(first_.begin(), first_.end() - 1);
    for_each_edge(table, [&](ByteState from, ByteState to) {
      states_[place[static_cast<size_t>(to)]++] = from;
    });
  }

  template <class Visit>
  void visit(ByteState state, Visit visit) const {
    const auto s = static_cast<size_t>(state);
    for (size_t i = first_[s]; i < first_[s + 1]; ++i)
      visit(states_[i]);
  }

 private:
  /// Runs of classes that lead to the same state count once.
  template <class Visit>
  static void for_each_edge(const ByteTable& table, Visit visit) {
    for (ByteState from = 0; std::cmp_less(from, table.num_states); ++from) {
      ByteState last = ByteDfa::kDead;
      for (size_t c = 0; c < table.num_classes; ++c) {
        const ByteState to = table.at(from, c);
        if (to != ByteDfa::kDead && to != last) visit(from, to);
        last = to;
      }
    }
  }

  std::vector<size_t> first_;
  std::vector<ByteState> states_;
};

/// The fewest bytes from each state to an accepting one; -1 where there is none.
std::vector<int32_t> bytes_to_acceptance(const ByteTable& table,
                                         const std::vector<int32_t>& labels) {
  const Predecessors predecessors(table);
  std::vector<int32_t> distance(table.num_states, -1);
  std::vector<ByteState> queue;
  for (ByteState state = 0; std::cmp_less(state, table.num_states); ++state) {
    if (labels[static_cast<size_t>(state)] == ByteDfa::kNoLabel) continue;
    distance[static_cast<size_t>(state)] = 0;
    queue.push_back(state);
  }
  for (size_t i = 0; i < queue.size(); ++i) {
    const ByteState state = queue[i];
    predecessors.visit(state, [&](ByteState from) {
      int32_t& before = distance[static_cast<size_t>(from)];
      if (before >= 0) return;
      before = distance[static_cast<size_t>(state)] + 1;
      queue.push_back(from);
    });
  }
  return distance;
}

}  // namespace

ByteDfa::ByteDfa(const std::array<uint8_t, 256>& class_of, size_t num_classes,
                 const std::vector<State>& next, std::vector<int32_t> labels)
    : class_of_(class_of), num_classes_(num_classes) {
  if (labels.empty()) return;
  const ByteTable table{next, labels.size(), num_classes};
  const std::vector<bool> reached = reachable_byte_states(table);
  const std::vector<int32_t> distance = bytes_to_acceptance(table, labels);
  // A start that is not live has nothing live behind it, so none of its states is kept.
  std::vector<State> renumbered(labels.size(), kDead);
  for (size_t old = 0; old < labels.size(); ++old) {
    if (!reached[old] || distance[old] < 0) continue;
    renumbered[old] = static_cast<State>(labels_.size());
    labels_.push_back(labels[old]);
    min_bytes_.push_back(distance[old]);
  }
  next_.reserve(labels_.size() * num_classes);
  goes_on_.reserve(labels_.size());
  for (size_t old = 0; old < labels.size(); ++old) {
    if (renumbered[old] == kDead) continue;
    bool goes_on = false;
    for (size_t c = 0; c < num_classes; ++c) {
      const State to = table.at(static_cast<State>(old), c);
      next_.push_back(to == kDead ? kDead : renumbered[static_cast<size_t>(to)]);
      goes_on = goes_on || next_.back() != kDead;
    }
    goes_on_.push_back(goes_on);
  }
}

}  // namespace tetrad::grammar
