#pragma once

// The experts of one token, chosen by one warp of a block for all. By every warp for itself it
// takes twice as long: they share the units that compare. The same picks, weights and order as
// choose_experts().

#include "kernels/gpu/choose_experts.h"

namespace tetrad::gpu {

/// The picks that this rank has, in their order, in shared memory.
struct PicksOfOne {
  uint32_t expert[kMaxPicks];
  float weight[kMaxPicks];
  uint32_t count;
};

/// What choosing needs in shared memory.
struct ChoiceOfOneMemory {
  uint32_t keys[kMaxExperts];  // order the experts; 0: nobody
  float scores[kMaxExperts];
  uint32_t largest[kMaxPicks];
  PicksOfOne picks;
};

namespace TETRAD_MACHINE {

class OneTokenChoice {
 public:
  /// What must be known before the logits are there.
  TETRAD_DEVICE explicit OneTokenChoice(const ExpertChoice& args) : bias_(bias_of_thread(args)) {}

  /// By all threads of a block of kMaxExperts or more: memory.picks but for the weights. Meanwhile
  /// the warps that do not choose do what `others` says; the block meets after it.
  template <class Others>
  TETRAD_DEVICE void choose(const ExpertChoice& args, ChoiceOfOneMemory& memory,
                            const Others& others) {
    const uint32_t expert = thread_index();
    if (expert < kMaxExperts) {
      const bool is_expert = expert < args.num_experts;
      const float score = is_expert ? expert_score(load_fresh(args.logits + expert)) : 0;
      memory.keys[expert] = is_expert ? choice_key(score, bias_) : 0;
      memory.scores[expert] = score;
    }
    sync_block();
    if (warp() == 0)
      pick(args, memory);
    else
      others();
    sync_block();
  }
  /// By the warp that chose: the weights, which nobody needs at first.
  TETRAD_DEVICE void weigh(const ExpertChoice& args, ChoiceOfOneMemory& memory) const {
    const PickScore mine = score_of_pick(expert_, memory.scores, args.num_experts_per_tok);
    if (is_here_) memory.picks.weight[place_] = divide(mine.score, mine.sum);
  }

 private:
  TETRAD_DEVICE void pick(const ExpertChoice& args, ChoiceOfOneMemory& memory) {
    uint32_t mine[kExpertsOfLane];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kExpertsOfLane; i += 4) {
      const Words4 four =
          *reinterpret_cast<const Words4*>(memory.keys + lane() * kExpertsOfLane + i);
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        mine[i + j] = four.word[j];
    }
    expert_ = pick_largest(mine, args.num_experts_per_tok, memory.largest);
    // Those of other ranks leave no gaps.
    const uint32_t here = expert_here(args, expert_);
    is_here_ = lane() < args.num_experts_per_tok && here != kElsewhere;
    const uint32_t all_here = ballot(is_here_);
    place_ = count_bits_before(all_here);
    if (is_here_) memory.picks.expert[place_] = here;
    if (lane() == 0) memory.picks.count = count_bits(all_here);
  }

  float bias_;
  // Of the lane's pick, in the warp that chose.
  uint32_t expert_ = 0;
  uint32_t place_ = 0;
  bool is_here_ = false;
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
