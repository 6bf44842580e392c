#pragma once

// The router for more than kFewTokens tokens, bit for bit what route.h computes: lane l of a warp
// sums the products of columns i * 128 + l * 4 + j in the order of i, then j, and warp_sum() adds
// up the lanes. Here a warp does so for some tokens and experts at once, so that each number that
// comes from shared memory serves several multiply-adds.
//
// route_norm writes the norm of each token once, for all blocks; then their experts are chosen, by
// the last block to finish for some tokens, or of many by a launch of its own, since the last
// blocks would keep their multiprocessors waiting; and group_by_expert sorts them.

#include "kernels/gpu/last_block.h"
#include "kernels/gpu/route.h"

namespace tetrad::gpu {

inline constexpr uint32_t kRouteColumns = 128;

/// Tokens and experts that a warp takes at once, of a block's 2 by 4 warps.
struct RouteTile {
  uint32_t warp_tokens;
  uint32_t warp_experts;

  constexpr uint32_t warp_sums() const { return warp_tokens * warp_experts; }
  constexpr uint32_t block_tokens() const { return 2 * warp_tokens; }
  constexpr uint32_t block_experts() const { return 4 * warp_experts; }
  constexpr uint32_t block_rows() const { return block_tokens() + block_experts(); }
  /// Floats of a stretch of kRouteColumns of all rows.
  constexpr uint32_t stage_floats() const { return block_rows() * kRouteColumns; }
};
/// For each stretch a lane loads 24 times 16 bytes for 512 multiply-adds: 96 wavefronts where the
/// multiply-adds take 128 cycles of a multiprocessor.
inline constexpr RouteTile kRouteLarge{.warp_tokens = 16, .warp_experts = 8};
/// 8 loads for 64 multiply-adds, so that shared memory takes twice the multiply-adds' time; but 256
/// experts and 48 tokens are 96 blocks, where kRouteLarge has 16 and 8 times the work in each.
inline constexpr RouteTile kRouteSmall{.warp_tokens = 4, .warp_experts = 4};

/// Stretches in shared memory or on their way there: two blocks fit a multiprocessor; on gfx12,
/// with 64 KiB, one.
template <class F, RouteTile kTile>
inline constexpr uint32_t kRouteStages =
    (F::kTokens == 8 ? 98304 : 65536) / (kTile.stage_floats() * 4);

/// What `route` of the same arguments does, and the choice of experts: hidden_size is any multiple
/// of 128. Grids: T for route_norm, then (E / block_experts, T / block_tokens) rounded up; of
/// choose_many, which route_many needs and route_many_small does not, T / kFewTokens rounded up.
struct RouteManyArgs {
  RouteArgs route;
  float* rows = nullptr;         // [T, hidden_size], for h as floats
  uint32_t* finished = nullptr;  // [T / block_tokens of kRouteSmall rounded up], 0 before and after

  /// Of `count` tokens from `first` on, for route_many.
  RouteManyArgs part(uint32_t first, uint32_t count) const {
    RouteManyArgs some = *this;
    ExpertChoice& choice = some.route.choice;
    const uint64_t picks = uint64_t{first} * choice.num_experts_per_tok;
    some.rows += uint64_t{first} * route.hidden_size;
    choice.logits += uint64_t{first} * choice.num_experts;
    choice.expert_ids += picks;
    choice.weights += picks;
    choice.num_tokens = count;
    return some;
  }
};

template <class F, RouteTile kTile>
constexpr uint32_t route_many_shared_bytes() {
  return kRouteStages<F, kTile> * kTile.stage_floats() * 4;
}
static_assert(sizeof(ChoiceMemory) + 16 <= route_many_shared_bytes<Gfx12Fragment, kRouteSmall>());

namespace TETRAD_MACHINE {

TETRAD_KERNEL(route_norm, RouteManyArgs, 256) {
  const uint32_t cols = args.route.hidden_size;
  const uint32_t stride = args.route.normed_stride;
  NormColumns weight;
  weight.load(args.route.norm_weight, cols);
  wait_for_launches_before();
  let_next_launch_begin();
  clear_told(args.route);
  const uint64_t token = block_x();
  uint16_t* normed = args.route.normed + token * stride;
  norm_to<1>(args.route.residual + token * cols, 1, weight, cols, args.route.eps,
             reinterpret_cast<float*>(shared_memory()),
             StoreRouterInput{args.rows + token * cols, cols, normed, stride});
  for (uint32_t k = cols + thread_index(); k < stride; k += kNormThreads)
    normed[activation_offset<Fragment>(k)] = 0;
}

/// Brings stretches of 128 columns of a block's tokens and experts to its stages: of each of
/// its rows a warp brings every 8th, the `i`th of them from `rows[i]` on.
template <RouteTile kTile>
struct RouteCopier {
  static constexpr uint32_t kTokenRows = kTile.block_tokens() / 8;  // of a warp
  static constexpr uint32_t kRows = kTile.block_rows() / 8;
  const float* rows[kRows];
  float* stages;

  TETRAD_DEVICE RouteCopier(const RouteManyArgs& args, uint32_t first_token, uint32_t first_expert,
                            float* to)
      : stages(to) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kRows; ++i) {
      const uint32_t row = i * 8 + warp();
      // Rows beyond the last one stand for it, and what comes of them is not stored.
      const bool is_token = i < kTokenRows;
      const uint32_t wanted =
          is_token ? first_token + row : first_expert + row - kTile.block_tokens();
      const uint32_t count =
          is_token ? args.route.choice.num_tokens : args.route.choice.num_experts;
      const float* from = is_token ? args.rows : args.route.router;
      rows[i] =
          from +
          static_cast<uint64_t>(wanted < count ? wanted : count - 1) * args.route.hidden_size +
          lane() * 4;
    }
  }
  TETRAD_DEVICE void copy_tokens(uint32_t stretch, uint32_t stage) const {
    copy<0, kTokenRows>(stretch, stage);
  }
  TETRAD_DEVICE void copy_experts(uint32_t stretch, uint32_t stage) const {
    copy<kTokenRows, kRows>(stretch, stage);
  }

 private:
  template <uint32_t kBegin, uint32_t kEnd>
  TETRAD_DEVICE void copy(uint32_t stretch, uint32_t stage) const {
    TETRAD_UNROLL
    for (uint32_t i = kBegin; i < kEnd; ++i)
      copy_16_async(
          stages + stage * kTile.stage_floats() + (i * 8 + warp()) * kRouteColumns + lane() * 4,
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

/// warp_sum() of kCount numbers, which halve with each step until one is left: lane l has those
/// from l * kCount / 32 on then. A lane adds what warp_sum() adds there.
template <uint32_t kCount, uint32_t kStep = kWarpSize / 2, uint32_t kSums>
TETRAD_DEVICE void warp_sums(float (&values)[kSums]) {
  if constexpr (kCount > 1) {
    const bool is_upper = (lane() & kStep) != 0;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCount / 2; ++i) {
      const float lower = values[i];
      const float upper = values[i + kCount / 2];
      values[i] = (is_upper ? upper : lower) + shuffle_xor(is_upper ? lower : upper, kStep);
    }
  } else {
    values[0] += shuffle_xor(values[0], kStep);
  }
  if constexpr (kStep > 1) warp_sums<(kCount > 1 ? kCount / 2 : 1), kStep / 2>(values);
}

/// sums[t * warp_experts + e] += what this lane has of token t times expert e in a stretch; `x` and
/// `w`: where its columns of the warp's first token and expert stand.
template <RouteTile kTile>
TETRAD_DEVICE void add_stretch(const float* x, const float* w, float (&sums)[kTile.warp_sums()]) {
  float weight[kTile.warp_experts][4];
  TETRAD_UNROLL
  for (uint32_t e = 0; e < kTile.warp_experts; ++e)
    load_four(w + e * kRouteColumns, weight[e]);
  TETRAD_UNROLL
  for (uint32_t t = 0; t < kTile.warp_tokens; ++t) {
    float four[4];
    load_four(x + t * kRouteColumns, four);
    TETRAD_UNROLL
    for (uint32_t j = 0; j < 4; ++j) {
      TETRAD_UNROLL
      for (uint32_t e = 0; e < kTile.warp_experts; ++e) {
        float& sum = sums[t * kTile.warp_experts + e];
        sum = fused_multiply_add(weight[e][j], four[j], sum);
      }
    }
  }
}

/// Adds the lanes' sums up and stores the logits of the warp's tokens and experts.
template <RouteTile kTile>
TETRAD_DEVICE void store_router_logits(const ExpertChoice& choice, uint32_t first_token,
                                       uint32_t first_expert, float (&sums)[kTile.warp_sums()]) {
  constexpr uint32_t kSums = kTile.warp_sums();
  warp_sums<kSums>(sums);
  // Of fewer than 32 several lanes have the same.
  constexpr uint32_t kLeft = kSums > kWarpSize ? kSums / kWarpSize : 1;
  const uint32_t first = lane() * kSums / kWarpSize;
  const uint32_t token = first_token + first / kTile.warp_experts;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kLeft; ++i) {
    const uint32_t expert = first_expert + (first + i) % kTile.warp_experts;
    if (token < choice.num_tokens && expert < choice.num_experts)
      choice.logits[static_cast<uint64_t>(token) * choice.num_experts + expert] = sums[i];
  }
}

/// The experts of up to kFewTokens tokens from `first` on.
TETRAD_DEVICE void choose_for_tokens(const ExpertChoice& choice, float bias, uint32_t first,
                                     ChoiceMemory& memory) {
  const uint32_t count = smaller_of(choice.num_tokens - first, kFewTokens);
  TokenLogits<kFewTokens> logits;
  logits.load(choice, first, count);
  choose_experts(choice, bias, logits, first, count, memory, true);
}

/// The last block to get here for its tokens chooses their experts. `shared`: memory that nobody
/// writes any more.
template <RouteTile kTile>
TETRAD_DEVICE void choose_in_last_block(const RouteManyArgs& args, uint32_t first_token,
                                        float* shared) {
  static_assert(kTile.block_tokens() <= kFewTokens);
  const ExpertChoice& choice = args.route.choice;
  // It is read when is_last_of() writes there.
  uint32_t* is_last = reinterpret_cast<uint32_t*>(shared);
  auto& memory = *reinterpret_cast<ChoiceMemory*>(is_last + 4);
  if (!is_last_of(args.finished + block_y(), tiles_for(choice.num_experts, kTile.block_experts()),
                  is_last))
    return;
  choose_for_tokens(choice, bias_of_thread(choice), first_token, memory);
}

template <RouteTile kTile, bool kChooses>
TETRAD_DEVICE void route_tile(const RouteManyArgs& args) {
  constexpr uint32_t kStages = kRouteStages<Fragment, kTile>;
  const uint32_t first_token = block_y() * kTile.block_tokens();
  const uint32_t first_expert = block_x() * kTile.block_experts();
  float* stages = reinterpret_cast<float*>(shared_memory());
  const RouteCopier<kTile> copier(args, first_token, first_expert, stages);
  const uint32_t stretches = args.route.hidden_size / kRouteColumns;
  // The router is there already. All of this belongs to the first group of copies.
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kStages - 1; ++i) {
    if (i < stretches) copier.copy_experts(i, i);
  }
  wait_for_launches_before();
  let_next_launch_begin();
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kStages - 1; ++i) {
    if (i < stretches) copier.copy_tokens(i, i);
    end_copy_group();
  }
  float sums[kTile.warp_sums()];
  TETRAD_UNROLL
  for (float& sum : sums)
    sum = 0;
  const uint32_t my_token = warp() / 4 * kTile.warp_tokens;
  const uint32_t my_expert = warp() % 4 * kTile.warp_experts;
  uint32_t stage = 0;
  for (uint32_t stretch = 0; stretch < stretches; ++stretch) {
    // This thread's part of the stage is here; after the barrier all of it is, and nobody reads the
    // stage before any more, which the new copies overwrite.
    wait_for_copy_groups<kStages - 2>();
    sync_block();
    if (stretch + kStages - 1 < stretches) {
      const uint32_t before = stage == 0 ? kStages - 1 : stage - 1;
      copier.copy_tokens(stretch + kStages - 1, before);
      copier.copy_experts(stretch + kStages - 1, before);
    }
    end_copy_group();
    const float* mine = stages + stage * kTile.stage_floats() + lane() * 4;
    add_stretch<kTile>(mine + my_token * kRouteColumns,
                       mine + (kTile.block_tokens() + my_expert) * kRouteColumns, sums);
    stage = stage == kStages - 1 ? 0 : stage + 1;
  }
  store_router_logits<kTile>(args.route.choice, first_token + my_token, first_expert + my_expert,
                             sums);
  if constexpr (kChooses) choose_in_last_block<kTile>(args, first_token, stages);
}

TETRAD_KERNEL(route_many, RouteManyArgs, 256) {
  route_tile<kRouteLarge, false>(args);
}
TETRAD_KERNEL(route_many_small, RouteManyArgs, 256) {
  route_tile<kRouteSmall, true>(args);
}

TETRAD_KERNEL(choose_many, RouteManyArgs, 256) {
  const ExpertChoice& choice = args.route.choice;
  const float bias = bias_of_thread(choice);
  wait_for_launches_before();
  let_next_launch_begin();
  choose_for_tokens(choice, bias, block_x() * kFewTokens,
                    *reinterpret_cast<ChoiceMemory*>(shared_memory()));
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
