#pragma once

// Pairs of a token and an expert, sorted by expert, for the products that take all tokens of an
// expert together (gemm_experts.h). A counting sort by one block: each warp counts its stretch of
// the pairs, counts become places, and each warp puts its pairs where they belong. Places follow
// from the order of the pairs alone.

#include "kernels/gpu/choose_experts.h"
#include "kernels/gpu/packed_matrix.h"

namespace tetrad::gpu {

/// Tokens of one expert in tiles: what a block of a product takes. Those of the experts whose tiles
/// have the most tokens come first, so that blocks that take one after the other end together.
struct TokenTiles {
  uint32_t token_tile = 0;        // tokens of a tile, at most
  uint32_t are_even = 0;          // what tokens_of_tile() does
  uint32_t* tiles = nullptr;      // [max_token_tiles()]: expert << 16 | which of its tiles
  uint32_t* num_tiles = nullptr;  // [1]

  /// Tokens of each tile of an expert with so many pairs, of the last one perhaps fewer. Even ones
  /// have as many each, but for what makes them a multiple of 8: for kernels with loops of many
  /// sizes. Others are full, which leaves the least for those with few.
  constexpr uint32_t tokens_of_tile(uint32_t pairs) const {
    if (are_even == 0) return token_tile;
    const uint32_t even = tiles_for(tiles_for(pairs, tiles_for(pairs, token_tile)), 8) * 8;
    return even < token_tile ? even : token_tile;
  }
};

/// What a list of tiles must have room for, and a grid blocks.
constexpr uint32_t max_token_tiles(uint32_t num_pairs, uint32_t num_experts, uint32_t token_tile) {
  // No expert has more tiles than full ones and one besides, and without pairs none.
  const uint32_t experts = num_pairs < num_experts ? num_pairs : num_experts;
  return experts + (num_pairs - experts) / token_tile;
}

/// One block of kGroupThreads.
struct GroupByExpertArgs {
  const int32_t* expert_ids = nullptr;  // [num_pairs], of a token no expert twice; pairs of
                                        // num_experts and above are left out
  uint32_t num_pairs = 0;               // T * num_experts_per_tok, T at most kMaxGroupedTokens
  uint32_t num_experts = 0;             // at most kMaxExperts
  ExpertLists lists;
  TokenTiles tiles;  // left alone where token_tile is 0
};

inline constexpr uint32_t kGroupThreads = 1024;
inline constexpr uint32_t kGroupWarps = kGroupThreads / kWarpSize;
/// An expert's pairs, of which a token has one at most, are counted in 16 bits.
inline constexpr uint32_t kMaxGroupedTokens = 65535;

constexpr uint32_t group_shared_bytes(uint32_t num_experts) {
  return kGroupWarps * num_experts * 2 + (2 * num_experts + 2 * kGroupWarps) * 4;
}

namespace TETRAD_MACHINE {

/// The lanes whose `value` is this lane's. `bits`: of all values.
TETRAD_DEVICE uint32_t lanes_like(uint32_t value, uint32_t bits) {
  uint32_t like = 0xFFFFFFFFu;
  for (uint32_t bit = 0; bit < bits; ++bit) {
    const bool mine = (value >> bit & 1u) != 0;
    const uint32_t set = ballot(mine);
    like &= mine ? set : ~set;
  }
  return like;
}

/// The sum of the values of lanes up to this one.
TETRAD_DEVICE uint32_t sum_of_lanes_before(uint32_t value) {
  uint32_t sum = value;
  TETRAD_UNROLL
  for (uint32_t step = 1; step < kWarpSize; step *= 2) {
    const uint32_t before = shuffle(sum, lane() >= step ? lane() - step : lane());
    if (lane() >= step) sum += before;
  }
  return sum;
}

/// Takes the warp's pairs in order. `next`: [E], of this warp: how many pairs of an expert came
/// before, which it goes on counting. With kPlace they go to sorted_pairs, an expert's from
/// offsets[expert] on.
template <bool kPlace>
TETRAD_DEVICE void take_pairs(const GroupByExpertArgs& args, uint32_t first, uint32_t end,
                              uint16_t* next, const uint32_t* offsets) {
  uint32_t bits = 1;  // so that no expert is all ones, which stand for no pair
  while (args.num_experts >> bits != 0)
    ++bits;
  for (uint32_t start = first; start < end; start += kWarpSize) {
    const uint32_t pair = start + lane();
    const auto loaded = static_cast<uint32_t>(args.expert_ids[pair < end ? pair : first]);
    const bool there = pair < end && loaded < args.num_experts;
    const uint32_t expert = there ? loaded : 0xFFFFFFFFu;
    const uint32_t like = lanes_like(expert, bits);
    const uint32_t before = count_bits_before(like);
    const uint32_t had = there ? next[expert] : 0;
    if constexpr (kPlace) {
      if (there) args.lists.sorted_pairs[offsets[expert] + had + before] = pair;
    }
    sync_warp();
    if (there && before == 0) next[expert] = static_cast<uint16_t>(had + count_bits(like));
    sync_warp();
  }
}

/// Tiles that come before an expert's: those of more tokens, and of earlier experts' as large ones.
/// `sizes`: [E], tokens of a tile << 16 | tiles.
TETRAD_DEVICE uint32_t tiles_before(const uint32_t* sizes, uint32_t num_experts, uint32_t expert) {
  const uint32_t mine = sizes[expert] >> 16;
  uint32_t tiles = 0;
  for (uint32_t e = 0; e < num_experts; ++e) {
    const uint32_t other = sizes[e] >> 16;
    if (other > mine || (other == mine && e < expert)) tiles += sizes[e] & 0xFFFFu;
  }
  return tiles;
}

TETRAD_KERNEL(group_by_expert, GroupByExpertArgs, 1024) {
  const uint32_t num_experts = args.num_experts;
  uint16_t* counts = reinterpret_cast<uint16_t*>(shared_memory());  // [warps][E]
  uint32_t* offsets = reinterpret_cast<uint32_t*>(counts + kGroupWarps * num_experts);  // [E]
  uint32_t* sizes = offsets + num_experts;                                              // [E]
  uint32_t* pair_sums = sizes + num_experts;                                            // [warps]
  uint32_t* count_sums = pair_sums + kGroupWarps;                                       // [warps]

  // Whole warps of pairs for each warp, so that few pairs are counted by few warps.
  const uint32_t stretch = tiles_for(args.num_pairs, kGroupThreads) * kWarpSize;
  const uint32_t used_warps = tiles_for(args.num_pairs, stretch);
  for (uint32_t i = thread_index(); i < used_warps * num_experts; i += kGroupThreads)
    counts[i] = 0;
  wait_for_launches_before();
  let_next_launch_begin();
  sync_block();

  const uint32_t first = warp() * stretch;
  const uint32_t end = first + stretch < args.num_pairs ? first + stretch : args.num_pairs;
  uint16_t* mine = counts + warp() * num_experts;
  if (warp() < used_warps) take_pairs<false>(args, first, end, mine, nullptr);
  sync_block();

  // A thread an expert: its pairs in the warps before, and in the experts before.
  const uint32_t expert = thread_index();
  uint32_t pairs = 0;
  if (expert < num_experts) {
    for (uint32_t w = 0; w < used_warps; ++w) {
      const uint32_t here = counts[w * num_experts + expert];
      counts[w * num_experts + expert] = static_cast<uint16_t>(pairs);
      pairs += here;
    }
  }
  const uint32_t token_tile = args.tiles.token_tile;
  const uint32_t tiles = token_tile != 0 ? tiles_for(pairs, token_tile) : 0;
  const uint32_t size = tiles != 0 ? smaller_of(args.tiles.tokens_of_tile(pairs), pairs) : 0;
  // Both counts in one word: active experts above, tiles below.
  const uint32_t active_and_tiles = (pairs > 0 ? 1u << 20 : 0) + tiles;
  const uint32_t pairs_to_here = sum_of_lanes_before(pairs);
  const uint32_t counts_to_here = sum_of_lanes_before(active_and_tiles);
  if (expert < num_experts) sizes[expert] = size << 16 | tiles;
  if (lane() == kWarpSize - 1) {
    pair_sums[warp()] = pairs_to_here;
    count_sums[warp()] = counts_to_here;
  }
  sync_block();
  uint32_t first_pair = pairs_to_here - pairs;
  uint32_t before = counts_to_here - active_and_tiles;
  for (uint32_t w = 0; w < warp(); ++w) {
    first_pair += pair_sums[w];
    before += count_sums[w];
  }
  if (expert < num_experts) {
    offsets[expert] = first_pair;
    args.lists.expert_offsets[expert] = first_pair;
    if (pairs > 0) args.lists.active[before >> 20] = {expert, first_pair, pairs, 0};
  }
  if (expert + 1 == num_experts) {
    args.lists.expert_offsets[num_experts] = first_pair + pairs;
    const uint32_t all = before + active_and_tiles;
    *args.lists.num_active = all >> 20;
    if (token_tile != 0) *args.tiles.num_tiles = all & 0xFFFFFu;
  }
  if (token_tile != 0 && expert < num_experts) {
    const uint32_t first_tile = tiles_before(sizes, num_experts, expert);
    for (uint32_t i = 0; i < tiles; ++i)
      args.tiles.tiles[first_tile + i] = expert << 16 | i;
  }
  sync_block();
  if (warp() < used_warps) take_pairs<true>(args, first, end, mine, offsets);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
