#pragma once

// The router: which experts a token visits. Logits are float32 sums of float32 products; the last
// block to finish for some tokens chooses their experts, and where those are all tokens of the step
// it also sorts them by expert (group_by_expert does it for more).

#include "kernels/gpu/rms_norm.h"

namespace tetrad::gpu {

/// Tokens a block takes at a time.
inline constexpr uint32_t kRouteTokens = 8;
/// Loads of 16 bytes a lane makes of a row of the router, all before the launch waits: hidden_size
/// is at most 128 times this.
inline constexpr uint32_t kRouterLoads = 24;
/// At most 32 times this many experts, and at most 16 picked.
inline constexpr uint32_t kExpertsOfLane = 8;

/// An expert that has pairs: num_pairs of sorted_pairs, from first_pair on.
struct alignas(16) ActiveExpert {
  uint32_t expert = 0;
  uint32_t first_pair = 0;
  uint32_t num_pairs = 0;
  uint32_t unused = 0;
};

/// Who visits which expert. A pair is token * num_experts_per_tok + pick.
struct ExpertLists {
  uint32_t* expert_offsets = nullptr;  // [E + 1]: where an expert's pairs begin
  uint32_t* sorted_pairs = nullptr;    // [T * num_experts_per_tok], by expert, then ascending
  ActiveExpert* active = nullptr;      // [E]: those with pairs, ascending
  uint32_t* num_active = nullptr;      // [1]
};

/// h = norm(residual); logits = router h. Grid: (E / 8, T / kRouteTokens), both rounded up.
struct RouteArgs {
  const float* residual = nullptr;     // [T, hidden_size]
  const float* norm_weight = nullptr;  // [hidden_size]
  float eps = 0;
  const float* router = nullptr;  // [E, hidden_size]
  const float* bias = nullptr;    // [E]
  uint32_t hidden_size = 0;       // a multiple of 128, at most 128 * kRouterLoads
  uint32_t num_experts = 0;
  uint32_t num_experts_per_tok = 0;
  uint32_t num_tokens = 0;
  uint16_t* normed = nullptr;  // [T, normed_stride]: h as halves, for the experts
  uint32_t normed_stride = 0;
  float* logits = nullptr;        // [T, E]
  int32_t* expert_ids = nullptr;  // [T, num_experts_per_tok], the best first
  float* weights = nullptr;       // likewise, the sum of each row 1
  uint32_t* finished = nullptr;   // [token groups], 0 before and after
  ExpertLists lists;              // written where T <= kRouteTokens
};

constexpr uint32_t route_shared_bytes(uint32_t hidden_size, uint32_t num_tokens) {
  const uint32_t tokens = num_tokens < kRouteTokens ? num_tokens : kRouteTokens;
  return (tokens * hidden_size + kRouteTokens * (8 + 16 + 16) + 1) * 4;
}

namespace TETRAD_MACHINE {

/// Rows of floats, and where `halves` is there the same as halves.
struct StoreRouterInput {
  float* rows;
  uint32_t cols;
  uint16_t* halves;
  uint32_t halves_stride;
  TETRAD_DEVICE void store(uint32_t row, uint32_t column, const float (&values)[4]) const {
    Words4 words;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < 4; ++i)
      words.word[i] = __builtin_bit_cast(uint32_t, values[i]);
    *reinterpret_cast<Words4*>(rows + row * cols + column) = words;
    if (halves != nullptr) StoreHalves{halves, halves_stride}.store(row, column, values);
  }
};

/// A key that orders as the float does, for numbers.
TETRAD_DEVICE uint32_t ordered_bits(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

/// One warp chooses the experts of one token: each lane knows the scores of every 32nd expert, and
/// the best one is taken away, as often as experts are picked. `picked`: [16] of shared memory.
TETRAD_DEVICE void choose_experts(const RouteArgs& args, uint32_t token, int32_t* picked) {
  const float* logits = args.logits + static_cast<uint64_t>(token) * args.num_experts;
  uint32_t keys[kExpertsOfLane];
  float plain[kExpertsOfLane];
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kExpertsOfLane; ++i) {
    const uint32_t e = i * 32 + lane();
    keys[i] = 0;
    plain[i] = 0;
    if (e < args.num_experts) {
      plain[i] = divide(1.0f, 1.0f + power_of_two(load_fresh(logits + e) * -1.44269504f));
      keys[i] = ordered_bits(plain[i] + args.bias[e]);
    }
  }
  float mine = 0;  // lane p: the weight of pick p
  int32_t my_expert = 0;
  float sum = 0;
  for (uint32_t pick = 0; pick < args.num_experts_per_tok; ++pick) {
    uint32_t best = 0;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kExpertsOfLane; ++i)
      best = keys[i] > best ? keys[i] : best;
    best = warp_max(best);
    // Of equals the first.
    uint32_t first = ~0u;
    float weight = 0;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kExpertsOfLane; ++i) {
      if (keys[i] == best && i * 32 + lane() < first) {
        first = i * 32 + lane();
        weight = plain[i];
      }
    }
    const uint32_t expert = warp_min(first);
    weight = shuffle(weight, expert % 32);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kExpertsOfLane; ++i) {
      if (i * 32 + lane() == expert) keys[i] = 0;
    }
    if (lane() == pick) {
      mine = weight;
      my_expert = static_cast<int32_t>(expert);
    }
    sum += weight;
  }
  if (lane() < args.num_experts_per_tok) {
    const uint64_t at = static_cast<uint64_t>(token) * args.num_experts_per_tok + lane();
    args.expert_ids[at] = my_expert;
    args.weights[at] = divide(mine, sum);
    picked[lane()] = my_expert;
  }
}

/// The lists of a few tokens. `picked`: [tokens][16] of shared memory; `is_first`: [pairs] of it.
TETRAD_DEVICE void list_few(const RouteArgs& args, const int32_t* picked, uint32_t* is_first) {
  const uint32_t top_k = args.num_experts_per_tok;
  const uint32_t num_pairs = args.num_tokens * top_k;
  const auto expert_of = [&](uint32_t pair) TETRAD_INLINE {
    return static_cast<uint32_t>(picked[pair / top_k * 16 + pair % top_k]);
  };
  for (uint32_t pair = thread_index(); pair < num_pairs; pair += 256) {
    const uint32_t mine = expert_of(pair);
    uint32_t place = 0;
    uint32_t earlier = 0;
    for (uint32_t other = 0; other < num_pairs; ++other) {
      const uint32_t expert = expert_of(other);
      place += expert < mine || (expert == mine && other < pair) ? 1 : 0;
      earlier += expert == mine && other < pair ? 1 : 0;
    }
    args.lists.sorted_pairs[place] = pair;
    is_first[pair] = earlier == 0 ? 1 : 0;
  }
  sync_block();
  for (uint32_t e = thread_index(); e <= args.num_experts; e += 256) {
    uint32_t pairs_before = 0;
    uint32_t experts_before = 0;
    uint32_t here = 0;
    for (uint32_t pair = 0; pair < num_pairs; ++pair) {
      const uint32_t expert = expert_of(pair);
      pairs_before += expert < e ? 1 : 0;
      experts_before += expert < e ? is_first[pair] : 0;
      here += expert == e ? 1 : 0;
    }
    args.lists.expert_offsets[e] = pairs_before;
    if (here > 0) args.lists.active[experts_before] = {e, pairs_before, here, 0};
    if (e == args.num_experts) *args.lists.num_active = experts_before;
  }
}

TETRAD_KERNEL(route, RouteArgs, 256) {
  const uint32_t cols = args.hidden_size;
  const uint32_t first_token = block_y() * kRouteTokens;
  const uint32_t left = args.num_tokens - first_token;
  const uint32_t num_tokens = left < kRouteTokens ? left : kRouteTokens;
  float* x = reinterpret_cast<float*>(shared_memory());
  float* scratch = x + num_tokens * cols;
  int32_t* picked = reinterpret_cast<int32_t*>(scratch + kRouteTokens * 8);
  uint32_t* is_first = reinterpret_cast<uint32_t*>(picked + kRouteTokens * 16);
  uint32_t* is_last = is_first + kRouteTokens * 16;

  NormColumns norm_weight;
  norm_weight.load(args.norm_weight, cols);
  const uint32_t expert = block_x() * 8 + warp();
  float weight[kRouterLoads][4];
  if (expert < args.num_experts) {
    const float* row = args.router + static_cast<uint64_t>(expert) * cols + lane() * 4;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kRouterLoads; ++i) {
      if (i * 128 >= cols) break;
      uint32_t words[4];
      load_once(words, row + i * 128);
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        weight[i][j] = __builtin_bit_cast(float, words[j]);
    }
  }
  wait_for_launches_before();
  let_next_launch_begin();

  uint16_t* normed = block_x() == 0
                         ? args.normed + static_cast<uint64_t>(first_token) * args.normed_stride
                         : nullptr;
  norm_to<kRouteTokens>(args.residual + static_cast<uint64_t>(first_token) * cols, num_tokens,
                        norm_weight, cols, args.eps, scratch,
                        StoreRouterInput{x, cols, normed, args.normed_stride});
  if (normed != nullptr) {
    for (uint32_t token = 0; token < num_tokens; ++token) {
      for (uint32_t k = cols + thread_index(); k < args.normed_stride; k += 256)
        normed[token * args.normed_stride + activation_offset<Fragment>(k)] = 0;
    }
  }
  sync_block();

  if (expert < args.num_experts) {
    for (uint32_t token = 0; token < num_tokens; ++token) {
      const float* mine = x + token * cols + lane() * 4;
      float sum = 0;
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kRouterLoads; ++i) {
        if (i * 128 >= cols) break;
        const Words4 four = *reinterpret_cast<const Words4*>(mine + i * 128);
        TETRAD_UNROLL
        for (uint32_t j = 0; j < 4; ++j)
          sum = fused_multiply_add(weight[i][j], __builtin_bit_cast(float, four.word[j]), sum);
      }
      const float logit = warp_sum(sum);
      if (lane() == 0)
        args.logits[static_cast<uint64_t>(first_token + token) * args.num_experts + expert] = logit;
    }
  }

  // The last block to come here sees the logits of all.
  sync_block();
  if (thread_index() == 0) {
    fence_device();
    const uint32_t num_blocks = tiles_for(args.num_experts, 8);
    const uint32_t before = atomic_increment(args.finished + block_y());
    *is_last = before + 1 == num_blocks ? 1 : 0;
    if (*is_last != 0) args.finished[block_y()] = 0;
  }
  sync_block();
  if (*is_last == 0) return;
  if (warp() < num_tokens) choose_experts(args, first_token + warp(), picked + warp() * 16);
  sync_block();
  if (args.num_tokens <= kRouteTokens) list_few(args, picked, is_first);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
