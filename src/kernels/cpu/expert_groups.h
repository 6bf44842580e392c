#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace tetrad {

/// The (token, choice) pairs of a routing sorted by expert, so that an expert's weights are read
/// once for all its tokens. A pair's place in that order is its slot.
class ExpertGroups {
 public:
  struct Group {
    int64_t expert = 0;
    int64_t slot_begin = 0;
    int64_t slot_end = 0;
  };

  /// A counting sort; within an expert the tokens keep their order.
  void build(const Routing& routing, int64_t num_experts);

  std::span<const Group> groups() const { return groups_; }
  /// Token of each slot.
  std::span<const int64_t> tokens() const { return tokens_; }
  /// Slot of pair token * num_experts_per_tok + choice.
  std::span<const int64_t> slots() const { return slots_; }

 private:
  std::vector<Group> groups_;
  std::vector<int64_t> next_slot_;  // [num_experts]
  std::vector<int64_t> tokens_;
  std::vector<int64_t> slots_;
};

}  // namespace tetrad
