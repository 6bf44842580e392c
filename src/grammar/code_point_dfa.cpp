#include "grammar/code_point_dfa.h"

#include <algorithm>

namespace tetrad::grammar {

int32_t CodePointDfa::next(int32_t state, char32_t code_point) const {
  const std::span<const Edge> from = edges(state);
  const auto after = std::ranges::upper_bound(from, code_point, {}, &Edge::low);
  if (after == from.begin()) return kDead;
  const Edge& edge = *std::prev(after);
  return edge.high >= code_point ? edge.target : kDead;
}

void CodePointDfa::add_edge(char32_t low, char32_t high, int32_t target) {
  if (edges_.size() > first_.back()) {
    Edge& last = edges_.back();
    if (last.target == target && last.high + 1 == low) {
      last.high = high;
      return;
    }
  }
  edges_.push_back({low, high, target});
}

void CodePointDfa::end_state(int32_t label) {
  first_.push_back(edges_.size());
  labels_.push_back(label);
}

tl::unexpected<Error> too_many_states(AutomatonLimits limits) {
  return fail(ErrorCode::invalid_argument,
              "the pattern needs more than {} states; simplify it or lower its counts",
              limits.max_states);
}

}  // namespace tetrad::grammar
