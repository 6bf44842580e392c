#pragma once

// The router for many tokens, bit for bit what route.h computes: lane l of a warp sums the products
// of columns i * 128 + l * 4 + j in the order of i, then j, and warp_sum() adds up the lanes. Here
// a warp does so for 16 tokens and 8 experts at once, so that each number that comes from shared
// memory serves 8 or 16 multiply-adds: 24 loads of 16 bytes a lane for 512 of them, 96 wavefronts
// where the multiply-adds take 128 cycles of a multiprocessor.
//
// route_norm writes the norm of each token once, for all blocks; the last block to finish for some
// tokens chooses their experts.

#include "kernels/gpu/route.h"

namespace tetrad::gpu {

/// From so many tokens on this is faster than `route`.
inline constexpr uint32_t kRouteManyTokens = 64;

inline constexpr uint32_t kRouteWarpTokens = 16;
inline constexpr uint32_t kRouteWarpExperts = 8;
/// Of a block: 2 by 4 warps.
inline constexpr uint32_t kRouteBlockTokens = 2 * kRouteWarpTokens;
inline constexpr uint32_t kRouteBlockExperts = 4 * kRouteWarpExperts;
/// Stretches of 128 columns in shared memory or on their way there; gfx12 has 64 KiB of it.
template <class F>
inline constexpr uint32_t kRouteStages = F::kTokens == 8 ? 3 : 2;
inline constexpr uint32_t kRouteColumns = 128;

/// What `route` of the same arguments does, but for the lists: hidden_size is any multiple of 128.
/// Grids: T for route_norm, then (E / kRouteBlockExperts, T / kRouteBlockTokens) rounded up.
struct RouteManyArgs {
  RouteArgs route;
  float* rows = nullptr;  // [T, hidden_size], for h as floats
};

template <class F>
constexpr uint32_t route_many_shared_bytes() {
  return kRouteStages<F> * (kRouteBlockTokens + kRouteBlockExperts) * kRouteColumns * 4;
}
static_assert(route_many_shared_bytes<Gfx12Fragment>() <= 65536);
static_assert(sizeof(ChoiceMemory) + 16 <= route_many_shared_bytes<Gfx12Fragment>());

namespace TETRAD_MACHINE {

TETRAD_KERNEL(route_norm, RouteManyArgs, 256) {
  const uint32_t cols = args.route.hidden_size;
  const uint32_t stride = args.route.normed_stride;
  NormColumns weight;
  weight.load(args.route.norm_weight, cols);
  wait_for_launches_before();
  let_next_launch_begin();
  const uint64_t token = block_x();
  uint16_t* normed = args.route.normed + token * stride;
  norm_to<1>(args.route.residual + token * cols, 1, weight, cols, args.route.eps,
             reinterpret_cast<float*>(shared_memory()),
             StoreRouterInput{args.rows + token * cols, cols, normed, stride});
  for (uint32_t k = cols + thread_index(); k < stride; k += kNormThreads)
    normed[activation_offset<Fragment>(k)] = 0;
}

/// Brings stretches of 128 columns of a block's tokens and experts to its stages: of each of
/// kRows rows a warp brings every 8th, the `i`th of them from `rows[i]` on.
struct RouteCopier {
  static constexpr uint32_t kRows = kRouteBlockTokens + kRouteBlockExperts;
  static constexpr uint32_t kStageFloats = kRows * kRouteColumns;
  const float* rows[kRows / 8];
  float* stages;

  TETRAD_DEVICE RouteCopier(const RouteManyArgs& args, uint32_t first_token, uint32_t first_expert,
                            float* to)
      : stages(to) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kRows / 8; ++i) {
      const uint32_t row = i * 8 + warp();
      // Rows beyond the last one stand for it, and what comes of them is not stored.
      const bool is_token = i * 8 < kRouteBlockTokens;
      const uint32_t wanted = is_token ? first_token + row : first_expert + row - kRouteBlockTokens;
      const uint32_t count =
          is_token ? args.route.choice.num_tokens : args.route.choice.num_experts;
      const float* from = is_token ? args.rows : args.route.router;
      rows[i] =
          from +
          static_cast<uint64_t>(wanted < count ? wanted : count - 1) * args.route.hidden_size +
          lane() * 4;
    }
  }
  TETRAD_DEVICE void copy(uint32_t stretch, uint32_t stage) const {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kRows / 8; ++i)
      copy_16_async(stages + stage * kStageFloats + (i * 8 + warp()) * kRouteColumns + lane() * 4,
                    rows[i] + stretch * kRouteColumns);
  }
};

/// Four consecutive floats of shared memory.
TETRAD_DEVICE void load_four(const float* from, float (&to)[4]) {
  const Words4 words = *reinterpret_cast<const Words4*>(from);
  TETRAD_UNROLL
  for (uint32_t j = 0; j < 4; ++j)
    to[j] = __builtin_bit_cast(float, words.word[j]);
}

/// warp_sum() of kCount numbers, which halve with each step: lane l is left with those from
/// l * (kCount / 32) on. A lane adds what warp_sum() adds there.
template <uint32_t kCount, uint32_t kStep = kWarpSize / 2>
TETRAD_DEVICE void warp_sums(float (&values)[kRouteWarpTokens * kRouteWarpExperts]) {
  const bool is_upper = (lane() & kStep) != 0;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kCount / 2; ++i) {
    const float lower = values[i];
    const float upper = values[i + kCount / 2];
    values[i] = (is_upper ? upper : lower) + shuffle_xor(is_upper ? lower : upper, kStep);
  }
  if constexpr (kStep > 1) warp_sums<kCount / 2, kStep / 2>(values);
}

/// sums[t * kRouteWarpExperts + e] += what this lane has of token t times expert e in a stretch;
/// `x` and `w`: where its columns of the warp's first token and expert stand.
TETRAD_DEVICE void add_stretch(const float* x, const float* w,
                               float (&sums)[kRouteWarpTokens * kRouteWarpExperts]) {
  float weight[kRouteWarpExperts][4];
  TETRAD_UNROLL
  for (uint32_t e = 0; e < kRouteWarpExperts; ++e)
    load_four(w + e * kRouteColumns, weight[e]);
  TETRAD_UNROLL
  for (uint32_t t = 0; t < kRouteWarpTokens; ++t) {
    float four[4];
    load_four(x + t * kRouteColumns, four);
    TETRAD_UNROLL
    for (uint32_t j = 0; j < 4; ++j) {
      TETRAD_UNROLL
      for (uint32_t e = 0; e < kRouteWarpExperts; ++e) {
        float& sum = sums[t * kRouteWarpExperts + e];
        sum = fused_multiply_add(weight[e][j], four[j], sum);
      }
    }
  }
}

/// Adds the lanes' sums up and stores the logits of the warp's tokens and experts.
TETRAD_DEVICE void store_router_logits(const ExpertChoice& choice, uint32_t first_token,
                                       uint32_t first_expert,
                                       float (&sums)[kRouteWarpTokens * kRouteWarpExperts]) {
  constexpr uint32_t kSums = kRouteWarpTokens * kRouteWarpExperts;
  warp_sums<kSums>(sums);
  constexpr uint32_t kLeft = kSums / kWarpSize;
  const uint32_t token = first_token + lane() * kLeft / kRouteWarpExperts;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kLeft; ++i) {
    const uint32_t expert = first_expert + (lane() * kLeft + i) % kRouteWarpExperts;
    if (token < choice.num_tokens && expert < choice.num_experts)
      choice.logits[static_cast<uint64_t>(token) * choice.num_experts + expert] = sums[i];
  }
}

/// The last block to get here for its tokens chooses their experts. `shared`: memory that nobody
/// writes any more.
TETRAD_DEVICE void choose_for_block(const RouteArgs& args, uint32_t first_token, float* shared) {
  const ExpertChoice& choice = args.choice;
  // It is read when is_last_of() writes there.
  uint32_t* is_last = reinterpret_cast<uint32_t*>(shared);
  auto& memory = *reinterpret_cast<ChoiceMemory*>(is_last + 4);
  if (!is_last_of(args.finished + block_y(), tiles_for(choice.num_experts, kRouteBlockExperts),
                  is_last))
    return;
  const float bias = bias_of_thread(choice);
  for (uint32_t first = first_token;
       first < first_token + kRouteBlockTokens && first < choice.num_tokens; first += kFewTokens) {
    const uint32_t left = choice.num_tokens - first;
    choose_experts(choice, bias, first, left < kFewTokens ? left : kFewTokens, memory, true);
    sync_block();
  }
}

TETRAD_KERNEL(route_many, RouteManyArgs, 256) {
  constexpr uint32_t kStages = kRouteStages<Fragment>;
  const uint32_t first_token = block_y() * kRouteBlockTokens;
  const uint32_t first_expert = block_x() * kRouteBlockExperts;
  float* stages = reinterpret_cast<float*>(shared_memory());
  const RouteCopier copier(args, first_token, first_expert, stages);
  wait_for_launches_before();
  let_next_launch_begin();

  const uint32_t stretches = args.route.hidden_size / kRouteColumns;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kStages - 1; ++i) {
    if (i < stretches) copier.copy(i, i);
    end_copy_group();
  }
  float sums[kRouteWarpTokens * kRouteWarpExperts];
  TETRAD_UNROLL
  for (float& sum : sums)
    sum = 0;
  const uint32_t my_token = warp() / 4 * kRouteWarpTokens;
  const uint32_t my_expert = warp() % 4 * kRouteWarpExperts;
  uint32_t stage = 0;
  for (uint32_t stretch = 0; stretch < stretches; ++stretch) {
    // This thread's part of the stage is here; after the barrier all of it is, and nobody reads the
    // stage before any more, which the new copies overwrite.
    wait_for_copy_groups<kStages - 2>();
    sync_block();
    if (stretch + kStages - 1 < stretches)
      copier.copy(stretch + kStages - 1, stage == 0 ? kStages - 1 : stage - 1);
    end_copy_group();
    const float* mine = stages + stage * RouteCopier::kStageFloats + lane() * 4;
    add_stretch(mine + my_token * kRouteColumns,
                mine + (kRouteBlockTokens + my_expert) * kRouteColumns, sums);
    stage = stage == kStages - 1 ? 0 : stage + 1;
  }
  store_router_logits(args.route.choice, first_token + my_token, first_expert + my_expert, sums);
  choose_for_block(args.route, first_token, stages);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
