#pragma once

// The router for up to kFewTokens tokens: float32 sums of float32 products. Whoever needs the
// experts chooses them from the logits (choose_experts.h). For more tokens there is route_many.h.

#include "kernels/gpu/choose_experts.h"
#include "kernels/gpu/rms_norm.h"
#include "kernels/gpu/told_words.h"

namespace tetrad::gpu {

/// Tokens a block takes at a time. Few, so that several tokens have blocks for more
/// multiprocessors: eight in 128 blocks take less than half of what they take in 32. gfx12's cards
/// have fewer.
template <class F>
inline constexpr uint32_t kRouteTokensOf = F::kTokens == 8 ? 2 : 4;
/// Loads of 16 bytes a lane makes of a row of the router, all before the launch waits: hidden_size
/// is at most 128 times this.
inline constexpr uint32_t kRouterLoads = 24;

/// h = norm(residual); logits = router h. Grid: (E / 8, T / kRouteTokensOf), both rounded up.
struct RouteArgs {
  const float* residual = nullptr;     // [T, hidden_size]
  const float* norm_weight = nullptr;  // [hidden_size]
  float eps = 0;
  const float* router = nullptr;  // [E, hidden_size]
  uint32_t hidden_size = 0;       // a multiple of 128, at most 128 * kRouterLoads
  uint16_t* normed = nullptr;     // [T, normed_stride]: h as halves, for the experts
  uint32_t normed_stride = 0;
  ExpertChoice choice;  // the logits
  // Words that blocks of the experts' launch tell each other, to be kNotYet when it begins.
  uint32_t* not_yet = nullptr;
  uint32_t num_not_yet = 0;
};

template <class F>
constexpr uint32_t route_shared_bytes(uint32_t hidden_size, uint32_t num_tokens) {
  constexpr uint32_t kRouteTokens = kRouteTokensOf<F>;
  const uint32_t tokens = num_tokens < kRouteTokens ? num_tokens : kRouteTokens;
  return (tokens * hidden_size + kRouteTokens * 8) * 4;
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

inline constexpr uint32_t kRouteTokens = kRouteTokensOf<Fragment>;

/// By the first row of a grid of blocks of 256 threads.
TETRAD_DEVICE void clear_told(const RouteArgs& args) {
  if (block_y() != 0) return;
  for (uint32_t i = block_x() * 256 + thread_index(); i < args.num_not_yet; i += grid_x() * 256)
    args.not_yet[i] = kNotYet;
}

/// kIsOne: one token (decode_product.h says why).
template <bool kIsOne>
TETRAD_DEVICE void route_tokens(const RouteArgs& args) {
  constexpr uint32_t kMaxTokens = kIsOne ? 1 : kRouteTokens;
  const uint32_t cols = args.hidden_size;
  const uint32_t first_token = kIsOne ? 0 : block_y() * kRouteTokens;
  const uint32_t num_experts = args.choice.num_experts;
  const uint32_t left = kIsOne ? 1 : args.choice.num_tokens - first_token;
  const uint32_t num_tokens = left < kMaxTokens ? left : kMaxTokens;
  float* x = reinterpret_cast<float*>(shared_memory());
  float* scratch = x + num_tokens * cols;

  NormColumns norm_weight;
  norm_weight.load(args.norm_weight, cols);
  const uint32_t expert = block_x() * 8 + warp();
  float weight[kRouterLoads][4];
  if (expert < num_experts) {
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

  clear_told(args);
  uint16_t* normed = block_x() == 0
                         ? args.normed + static_cast<uint64_t>(first_token) * args.normed_stride
                         : nullptr;
  norm_to<kMaxTokens>(args.residual + static_cast<uint64_t>(first_token) * cols, num_tokens,
                      norm_weight, cols, args.eps, scratch,
                      StoreRouterInput{x, cols, normed, args.normed_stride});
  if (normed != nullptr) {
    for (uint32_t token = 0; token < num_tokens; ++token) {
      for (uint32_t k = cols + thread_index(); k < args.normed_stride; k += 256)
        normed[token * args.normed_stride + activation_offset<Fragment>(k)] = 0;
    }
  }
  sync_block();

  if (expert < num_experts) {
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
        args.choice.logits[static_cast<uint64_t>(first_token + token) * num_experts + expert] =
            logit;
    }
  }
}

TETRAD_KERNEL(route, RouteArgs, 256) {
  route_tokens<false>(args);
}
TETRAD_KERNEL(route_one, RouteArgs, 256) {
  route_tokens<true>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
