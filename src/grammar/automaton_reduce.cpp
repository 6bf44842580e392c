// Minimal automata by refining two partitions against each other: that of the states, and that of
// the transitions by where they lead (Valmari, "Fast brief practical DFA minimization", 2012).

#include <algorithm>
#include <numeric>
#include <utility>

#include "grammar/code_point_dfa.h"

namespace tetrad::grammar {
namespace {

/// More transitions than that are not worth the time: the automaton is right without, too.
constexpr size_t kMaxTransitions = 2'000'000;

size_t index_of(int32_t value) {
  return static_cast<size_t>(value);
}

std::vector<bool> reachable_states(const CodePointDfa& dfa) {
  std::vector<bool> reached(dfa.num_states(), false);
  std::vector<int32_t> waiting = {0};
  reached[0] = true;
  while (!waiting.empty()) {
    const int32_t state = waiting.back();
    waiting.pop_back();
    for (const CodePointDfa::Edge& edge : dfa.edges(state)) {
      if (reached[index_of(edge.target)]) continue;
      reached[index_of(edge.target)] = true;
      waiting.push_back(edge.target);
    }
  }
  return reached;
}

/// Edges by their target, one list behind the other.
class IncomingStates {
 public:
  explicit IncomingStates(const CodePointDfa& dfa) : first_(dfa.num_states() + 1, 0) {
    for (int32_t from = 0; std::cmp_less(from, dfa.num_states()); ++from)
      for (const CodePointDfa::Edge& edge : dfa.edges(from))
        ++first_[index_of(edge.target) + 1];
    std::partial_sum(first_.begin(), first_.end(), first_.begin());
    states_.resize(first_.back());
    std::vector<size_t> place(first_.begin(), first_.end() - 1);
    for (int32_t from = 0; std::cmp_less(from, dfa.num_states()); ++from)
      for (const CodePointDfa::Edge& edge : dfa.edges(from))
        states_[place[index_of(edge.target)]++] = from;
  }
  std::span<const int32_t> of(int32_t state) const {
    const size_t s = index_of(state);
    return std::span(states_).subspan(first_[s], first_[s + 1] - first_[s]);
  }

 private:
  std::vector<size_t> first_;
  std::vector<int32_t> states_;
};

std::vector<bool> live_states(const CodePointDfa& dfa) {
  const IncomingStates incoming(dfa);
  std::vector<bool> live(dfa.num_states(), false);
  std::vector<int32_t> waiting;
  for (int32_t state = 0; std::cmp_less(state, dfa.num_states()); ++state) {
    if (dfa.label(state) == CodePointDfa::kNoLabel) continue;
    live[index_of(state)] = true;
    waiting.push_back(state);
  }
  while (!waiting.empty()) {
    const int32_t state = waiting.back();
    waiting.pop_back();
    for (const int32_t from : incoming.of(state)) {
      if (live[index_of(from)]) continue;
      live[index_of(from)] = true;
      waiting.push_back(from);
    }
  }
  return live;
}

CodePointDfa trimmed(const CodePointDfa& dfa) {
  CodePointDfa result;
  if (dfa.num_states() == 0) return result;
  const std::vector<bool> reached = reachable_states(dfa);
  const std::vector<bool> live = live_states(dfa);
  if (!live[0]) return result;
  std::vector<int32_t> renumbered(dfa.num_states(), CodePointDfa::kDead);
  int32_t count = 0;
  for (size_t state = 0; state < dfa.num_states(); ++state)
    if (reached[state] && live[state]) renumbered[state] = count++;
  for (int32_t state = 0; std::cmp_less(state, dfa.num_states()); ++state) {
    if (renumbered[index_of(state)] == CodePointDfa::kDead) continue;
    for (const CodePointDfa::Edge& edge : dfa.edges(state)) {
      const int32_t target = renumbered[index_of(edge.target)];
      if (target != CodePointDfa::kDead) result.add_edge(edge.low, edge.high, target);
    }
    result.end_state(dfa.label(state));
  }
  return result;
}

/// Elements 0 … n-1 in disjoint sets, which are split by marking some of their elements.
class Partition {
 public:
  /// `set_of`: the set each element starts in.
  explicit Partition(std::vector<int32_t> set_of) : set_of_(std::move(set_of)) {
    const size_t n = set_of_.size();
    const int32_t sets = n == 0 ? 0 : *std::ranges::max_element(set_of_) + 1;
    begin_.assign(index_of(sets), 0);
    end_.assign(index_of(sets), 0);
    marked_.assign(index_of(sets), 0);
    elements_.resize(n);
    place_.resize(n);
    for (const int32_t set : set_of_)
      ++end_[index_of(set)];
    std::partial_sum(end_.begin(), end_.end(), end_.begin());
    std::vector<int32_t> free(begin_.size(), 0);
    for (size_t set = 1; set < begin_.size(); ++set)
      free[set] = begin_[set] = end_[set - 1];
    for (size_t element = 0; element < n; ++element) {
      const int32_t place = free[index_of(set_of_[element])]++;
      elements_[index_of(place)] = static_cast<int32_t>(element);
      place_[element] = place;
    }
  }

  size_t num_sets() const { return begin_.size(); }
  int32_t set_of(int32_t element) const { return set_of_[index_of(element)]; }
  std::span<const int32_t> elements(size_t set) const {
    return std::span(elements_).subspan(index_of(begin_[set]), index_of(end_[set] - begin_[set]));
  }

  void mark(int32_t element) {
    const size_t set = index_of(set_of_[index_of(element)]);
    const int32_t from = place_[index_of(element)];
    const int32_t to = begin_[set] + marked_[set];
    if (from < to) return;  // it is marked
    const int32_t other = elements_[index_of(to)];
    elements_[index_of(from)] = other;
    place_[index_of(other)] = from;
    elements_[index_of(to)] = element;
    place_[index_of(element)] = to;
    if (marked_[set]++ == 0) touched_.push_back(static_cast<int32_t>(set));
  }

  /// Parts the marked elements of each set from the others. The smaller part becomes the new set.
  void split() {
    for (const int32_t touched : touched_) {
      const size_t set = index_of(touched);
      const int32_t middle = begin_[set] + marked_[set];
      const int32_t marked = std::exchange(marked_[set], 0);
      if (middle == end_[set]) continue;
      const auto added = static_cast<int32_t>(begin_.size());
      if (marked <= end_[set] - middle) {
        begin_.push_back(begin_[set]);
        end_.push_back(middle);
        begin_[set] = middle;
      } else {
        begin_.push_back(middle);
        end_.push_back(end_[set]);
        end_[set] = middle;
      }
      marked_.push_back(0);
      for (const int32_t element : elements(index_of(added)))
        set_of_[index_of(element)] = added;
    }
    touched_.clear();
  }

 private:
  std::vector<int32_t> set_of_;
  std::vector<int32_t> elements_;  // those of a set next to each other, marked ones first
  std::vector<int32_t> place_;     // of an element in elements_
  std::vector<int32_t> begin_, end_, marked_;
  std::vector<int32_t> touched_;
};

/// The edges cut at every place where any edge begins or ends, so that two either have the same
/// characters or none in common.
struct Transitions {
  std::vector<int32_t> from, to, piece;
  bool complete = true;  // no: there are too many
};

Transitions transitions_of(const CodePointDfa& dfa) {
  std::vector<char32_t> starts;
  starts.reserve(2 * dfa.num_edges());
  for (int32_t state = 0; std::cmp_less(state, dfa.num_states()); ++state) {
    for (const CodePointDfa::Edge& edge : dfa.edges(state)) {
      starts.push_back(edge.low);
      starts.push_back(edge.high + 1);
    }
  }
  std::ranges::sort(starts);
  starts.erase(std::ranges::unique(starts).begin(), starts.end());
  Transitions result;
  for (int32_t state = 0; std::cmp_less(state, dfa.num_states()); ++state) {
    for (const CodePointDfa::Edge& edge : dfa.edges(state)) {
      const auto first = std::ranges::lower_bound(starts, edge.low);
      for (auto at = first; at != starts.end() && *at <= edge.high; ++at) {
        result.from.push_back(state);
        result.to.push_back(edge.target);
        result.piece.push_back(static_cast<int32_t>(at - starts.begin()));
      }
      if (result.from.size() > kMaxTransitions) return {{}, {}, {}, false};
    }
  }
  return result;
}

/// Numbers without gaps in the order of the values.
std::vector<int32_t> dense_numbers(std::vector<int32_t> values) {
  std::vector<int32_t> sorted = values;
  std::ranges::sort(sorted);
  sorted.erase(std::ranges::unique(sorted).begin(), sorted.end());
  for (int32_t& value : values)
    value = static_cast<int32_t>(std::ranges::lower_bound(sorted, value) - sorted.begin());
  return values;
}

/// Transition numbers by where they lead, one list behind the other.
struct TransitionsInto {
  explicit TransitionsInto(const std::vector<int32_t>& to, size_t num_states)
      : first(num_states + 1, 0), numbers(to.size()) {
    for (const int32_t state : to)
      ++first[index_of(state) + 1];
    std::partial_sum(first.begin(), first.end(), first.begin());
    std::vector<size_t> place(first.begin(), first.end() - 1);
    for (size_t i = 0; i < to.size(); ++i)
      numbers[place[index_of(to[i])]++] = static_cast<int32_t>(i);
  }
  std::span<const int32_t> of(int32_t state) const {
    const size_t s = index_of(state);
    return std::span(numbers).subspan(first[s], first[s + 1] - first[s]);
  }
  std::vector<size_t> first;
  std::vector<int32_t> numbers;
};

Partition equivalent_states(const CodePointDfa& dfa, const Transitions& transitions) {
  std::vector<int32_t> labels(dfa.num_states());
  for (size_t state = 0; state < labels.size(); ++state)
    labels[state] = dfa.label(static_cast<int32_t>(state));
  Partition blocks(dense_numbers(std::move(labels)));
  Partition cords(dense_numbers(transitions.piece));
  const TransitionsInto into(transitions.to, dfa.num_states());
  // The transitions into block 0 need not be told apart: they are what the others leave.
  size_t block = 1;
  const auto split_cords = [&] {
    for (; block < blocks.num_sets(); ++block) {
      for (const int32_t state : blocks.elements(block))
        for (const int32_t transition : into.of(state))
          cords.mark(transition);
      cords.split();
    }
  };
  split_cords();
  for (size_t cord = 0; cord < cords.num_sets(); ++cord) {
    for (const int32_t transition : cords.elements(cord))
      blocks.mark(transitions.from[index_of(transition)]);
    blocks.split();
    split_cords();
  }
  return blocks;
}

}  // namespace

CodePointDfa reduced(const CodePointDfa& untrimmed) {
  CodePointDfa dfa = trimmed(untrimmed);
  if (dfa.num_states() <= 1) return dfa;
  const Transitions transitions = transitions_of(dfa);
  if (!transitions.complete) return dfa;
  const Partition blocks = equivalent_states(dfa, transitions);
  if (blocks.num_sets() == dfa.num_states()) return dfa;
  // Numbered in the order of their first states, so that the start stays first.
  std::vector<int32_t> renumbered(blocks.num_sets(), -1);
  std::vector<int32_t> representatives;
  for (int32_t state = 0; std::cmp_less(state, dfa.num_states()); ++state) {
    int32_t& number = renumbered[index_of(blocks.set_of(state))];
    if (number >= 0) continue;
    number = static_cast<int32_t>(representatives.size());
    representatives.push_back(state);
  }
  CodePointDfa result;
  for (const int32_t state : representatives) {
    for (const CodePointDfa::Edge& edge : dfa.edges(state))
      result.add_edge(edge.low, edge.high, renumbered[index_of(blocks.set_of(edge.target))]);
    result.end_state(dfa.label(state));
  }
  return result;
}

Automaton to_automaton(const CodePointDfa& dfa) {
  return Automaton(std::make_shared<const Automaton::Impl>(Automaton::Impl{reduced(dfa)}));
}

}  // namespace tetrad::grammar
