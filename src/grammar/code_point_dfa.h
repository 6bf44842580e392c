#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "grammar/automaton.h"

namespace tetrad::grammar {

/// A deterministic automaton over code points with labelled accepting states: what stands behind an
/// Automaton. State 0 is the start; without states nothing is accepted.
class CodePointDfa {
 public:
  static constexpr int32_t kDead = -1;
  static constexpr int32_t kNoLabel = -1;

  struct Edge {
    char32_t low;
    char32_t high;
    int32_t target;

    bool operator==(const Edge&) const = default;
  };

  size_t num_states() const { return labels_.size(); }
  size_t num_edges() const { return edges_.size(); }
  /// Ascending and disjoint.
  std::span<const Edge> edges(int32_t state) const {
    const auto s = static_cast<size_t>(state);
    return std::span(edges_).subspan(first_[s], first_[s + 1] - first_[s]);
  }
  int32_t label(int32_t state) const { return labels_[static_cast<size_t>(state)]; }
  int32_t next(int32_t state, char32_t code_point) const;

  /// States are written one after the other: first the edges, in ascending order, then the state.
  /// A target may come later.
  void add_edge(char32_t low, char32_t high, int32_t target);
  void end_state(int32_t label);

 private:
  std::vector<size_t> first_ = {0};
  std::vector<Edge> edges_;
  std::vector<int32_t> labels_;
};

struct Automaton::Impl {
  CodePointDfa dfa;
};

/// Only states that are reachable and live, and of those that accept the same with the same labels
/// one.
CodePointDfa reduced(const CodePointDfa& dfa);

/// An automaton of what reduced() leaves.
Automaton to_automaton(const CodePointDfa& dfa);

/// The error of an automaton that would become too large.
tl::unexpected<Error> too_many_states(AutomatonLimits limits);

/// How many edges may come with the states that are allowed: they take memory too.
inline size_t max_edges(AutomatonLimits limits) {
  return 100 * limits.max_states;
}

/// A state of a product: the states of those factors that are still alive.
struct FactorState {
  int32_t factor;
  int32_t state;

  bool operator==(const FactorState&) const = default;
};

/// What of a product is of interest. Both are given the factors that are alive, ascending.
class ProductRule {
 public:
  virtual ~ProductRule() = default;
  /// Whether a text may still become one that is wanted.
  virtual bool keeps(std::span<const FactorState> alive) const = 0;
  virtual int32_t label(std::span<const FactorState> alive) = 0;
};

/// All factors at once, reduced. At least one factor.
Result<CodePointDfa> product(std::span<const CodePointDfa* const> factors, ProductRule& rule,
                             AutomatonLimits limits);

}  // namespace tetrad::grammar
