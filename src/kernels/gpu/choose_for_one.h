#pragma once

// The experts of one token, chosen by every warp of a block for itself: nobody waits for another,
// and each warp has the picks in registers. The same picks, weights and order as choose_experts().

#include "kernels/gpu/choose_experts.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

/// The picks that this rank has, in their order: lane i has the ith.
struct PicksOfOne {
  uint32_t expert_of_lane = 0;
  float weight_of_lane = 0;
  uint32_t count = 0;

  TETRAD_DEVICE uint32_t expert(uint32_t pick) const { return shuffle(expert_of_lane, pick); }
};

class OneTokenChoice {
 public:
  /// Of all experts, in shared memory.
  struct Candidates {
    uint32_t keys[kMaxExperts];  // order them; 0: nobody
    float scores[kMaxExperts];
  };

  /// What must be known before the logits are there.
  TETRAD_DEVICE explicit OneTokenChoice(const ExpertChoice& args) : bias_(bias_of_thread(args)) {}

  /// By all threads of a block of kMaxExperts or more. `all` may be used again after the next
  /// sync_block().
  TETRAD_DEVICE PicksOfOne choose(const ExpertChoice& args, Candidates& all) const {
    const uint32_t expert = thread_index();
    if (expert < kMaxExperts) {
      const bool is_expert = expert < args.num_experts;
      const float score = is_expert ? expert_score(load_fresh(args.logits + expert)) : 0;
      all.keys[expert] = is_expert ? choice_key(score, bias_) : 0;
      all.scores[expert] = score;
    }
    sync_block();
    return pick(args, all);
  }

 private:
  TETRAD_DEVICE static PicksOfOne pick(const ExpertChoice& args, const Candidates& all) {
    uint32_t mine[kExpertsOfLane];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kExpertsOfLane; i += 4) {
      const Words4 four = *reinterpret_cast<const Words4*>(all.keys + lane() * kExpertsOfLane + i);
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        mine[i + j] = four.word[j];
    }
    const PickOfLane picked = pick_experts(mine, all.scores, args.num_experts_per_tok);
    // Those of other ranks leave no gaps.
    const bool is_pick = lane() < args.num_experts_per_tok;
    const uint32_t here = is_pick ? expert_here(args, picked.expert) : kElsewhere;
    const uint32_t all_here = ballot(here != kElsewhere);
    const uint32_t from = place_of_set_bit(all_here, lane());
    const float weight = divide(picked.score, picked.sum);
    PicksOfOne picks;
    picks.expert_of_lane = shuffle(here, from);
    picks.weight_of_lane = shuffle(weight, from);
    picks.count = count_bits(all_here);
    return picks;
  }

  /// Where the nth set bit is; anywhere if there are fewer.
  TETRAD_DEVICE static uint32_t place_of_set_bit(uint32_t bits, uint32_t n) {
    for (uint32_t i = 0; i < n && bits != 0; ++i)
      bits &= bits - 1;
    return bits == 0 ? 0 : place_of_first_bit(bits);
  }

  float bias_;
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
