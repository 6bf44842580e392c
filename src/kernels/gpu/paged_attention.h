#pragma once

// Decode's launch of attention over the paged FP8 cache (attention_tile.h says how it is computed):
// a block takes a group of keys of one token.

#include "kernels/gpu/attention_tile.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

/// Blocks of keys or values that a warp of decode has on their way to its registers.
inline constexpr uint32_t kSplitLoads = 4;

/// A warp's split of a group.
template <uint32_t kHeadDim>
TETRAD_DEVICE void attend_split(const AttentionArgs& args, uint32_t sequence, uint32_t kv_head,
                                uint64_t token, uint32_t num_keys, uint32_t split,
                                SoftmaxState<kHeadDim>& state) {
  using A = Attention<kHeadDim>;
  const uint32_t first_block = split * kSplitBlocks;
  const uint32_t blocks_left = tiles_for(num_keys, kKvBlock) - first_block;
  const uint32_t num_blocks = blocks_left < kSplitBlocks ? blocks_left : kSplitBlocks;
  // All blocks' places at once: a load each would wait for the one before.
  uint32_t physical = 0;
  if (lane() < num_blocks)
    physical =
        static_cast<uint32_t>(args.block_table[static_cast<uint64_t>(sequence) * args.table_stride +
                                               first_block + lane()]);
  // Loads that are on their way: of all the keys' blocks, then of the values'.
  typename A::template Block<1> ahead[kSplitLoads];
  const auto load = [&](uint32_t i) TETRAD_INLINE {
    const uint32_t of_split = i % kSplitBlocks;
    if (of_split >= num_blocks) return;
    const uint64_t at = A::cache_at(args, kv_head, shuffle(physical, of_split));
    if (i < kSplitBlocks) {
      ahead[i % kSplitLoads].load_keys(args.k_cache + at, 0);
    } else {
      ahead[i % kSplitLoads].load_values(args.v_cache + at, 0);
    }
  };
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kSplitLoads; ++i)
    load(i);
  const uint32_t num_heads = args.num_kv_heads * args.group;
  const uint32_t column = Fragment::b_token(lane());
  typename A::Queries queries;
  queries.load(column < args.group
                   ? args.q + (token * num_heads + kv_head * args.group + column) * kHeadDim
                   : nullptr);
  const uint32_t keys = num_keys - first_block * kKvBlock;
  float s[1][kSplitBlocks][Fragment::kD];
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kSplitBlocks; ++i) {
    if (i < num_blocks)
      A::scores([&](uint32_t step, uint32_t(&a)[Fragment::kA])
                    TETRAD_INLINE { ahead[i % kSplitLoads].keys_as_a(step, a); },
                [&](uint32_t, uint32_t step, uint32_t(&b)[Fragment::kB])
                    TETRAD_INLINE { queries.as_b(step, b); },
                i, s);
    // Registers are asked for again as soon as they are free.
    load(i + kSplitLoads);
    if (keys < (i + 1) * kKvBlock) {
      int32_t limit[Fragment::kTokensOfLane];
      TETRAD_UNROLL
      for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t)
        limit[t] = static_cast<int32_t>(keys) - static_cast<int32_t>(i * kKvBlock);
      A::mask(s[0][i], limit, lane());
    }
  }
  float largest[1][Fragment::kTokensOfLane];
  uint32_t b[1][kSplitBlocks][Fragment::kB];
  A::soften(s, largest, b);
  state.clear();
  TETRAD_UNROLL
  for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t)
    state.largest[t] = largest[0][t];
  A::sum_weights(b[0], state.denominator);
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kSplitBlocks; ++i) {
    if (i >= num_blocks) break;
    auto& values = ahead[(kSplitBlocks + i) % kSplitLoads];
    if (keys < (i + 1) * kKvBlock) values.clear_values(keys - i * kKvBlock, lane());
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < A::kRowTiles; ++tile) {
      uint32_t a[Fragment::kA];
      values.values_as_a(tile, a);
      Fragment::multiply_add(state.sums[tile], a, b[0][i]);
    }
    if (i + kSplitLoads < kSplitBlocks) load(kSplitBlocks + i + kSplitLoads);
  }
}

template <uint32_t kHeadDim>
TETRAD_DEVICE void attend_decode(const AttentionArgs& args) {
  using A = Attention<kHeadDim>;
  constexpr uint32_t kPartial = partial_floats<Fragment>(kHeadDim);
  constexpr uint32_t kParts = kMergePartsOf<Fragment>;
  constexpr uint32_t kPartTiles = A::kRowTiles / kParts;
  constexpr uint32_t kSplit = partial_floats<Fragment>(kHeadDim / kParts);
  float* splits = reinterpret_cast<float*>(shared_memory());
  uint32_t* is_last = reinterpret_cast<uint32_t*>(splits + kAttendWarps * kSplit);
  wait_for_launches_before();
  let_next_launch_begin();
  const auto sequence = static_cast<uint32_t>(args.sequences[block_z()]);
  const uint32_t kv_head = block_y();
  const auto num_keys = static_cast<uint32_t>(args.context_len[sequence]) + 1;
  const uint32_t num_groups = tiles_for(num_keys, kGroupKeys);
  if (block_x() >= num_groups) return;
  const auto token = static_cast<uint64_t>(args.query_start[sequence]);

  const uint32_t first_split = block_x() * kAttendWarps;
  const uint32_t splits_left = tiles_for(num_keys, kSplitKeys) - first_split;
  const uint32_t num_splits = splits_left < kAttendWarps ? splits_left : kAttendWarps;
  typename A::State state;
  if (warp() < num_splits) {
    attend_split<kHeadDim>(args, sequence, kv_head, token, num_keys, first_split + warp(), state);
    A::template save<0, kPartTiles>(splits + warp() * kSplit, state);
  }
  sync_block();

  // A warp merges a tile of dimensions of all splits, and of all groups.
  const auto store = [&](const MergedTile& merged, uint32_t tile) TETRAD_INLINE {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t column = Fragment::d_token(lane(), i);
      if (column < args.group)
        A::store(args, token, kv_head * args.group + column,
                 A::dim_of_row(tile, Fragment::d_row(lane(), i)),
                 divide(merged.sums[i], merged.denominator[i % Fragment::kTokensOfLane]) *
                     (args.v_scale * kE4m3Factor));
    }
  };
  const uint64_t of_sequence =
      (static_cast<uint64_t>(block_z()) * args.num_kv_heads + kv_head) * args.max_groups;
  const auto merge_splits = [&](uint32_t first_tile) TETRAD_INLINE {
    for (uint32_t of_part = warp(); of_part < kPartTiles; of_part += kAttendWarps) {
      const uint32_t tile = first_tile + of_part;
      MergedTile group;
      group.clear();
      for (uint32_t s = 0; s < num_splits; ++s) {
        float sums[Fragment::kD];
        float ends[2 * Fragment::kTokensOfLane];
        A::get(splits + s * kSplit, of_part, sums);
        TETRAD_UNROLL
        for (uint32_t i = 0; i < 2 * Fragment::kTokensOfLane; ++i)
          ends[i] = splits[s * kSplit + A::template ends_at<kPartTiles>() + i];
        group.take(sums, ends);
      }
      if (num_groups == 1) {
        store(group, tile);
        continue;
      }
      float* mine = args.partial + (of_sequence + block_x()) * kPartial;
      A::put(mine, tile, group.sums);
      if (tile == 0) {
        TETRAD_UNROLL
        for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t) {
          mine[A::ends_at() + 2 * t] = group.largest[t];
          mine[A::ends_at() + 2 * t + 1] = group.denominator[t];
        }
      }
    }
  };
  merge_splits(0);
  if constexpr (kParts == 2) {
    sync_block();
    if (warp() < num_splits)
      A::template save<A::kRowTiles - kPartTiles, kPartTiles>(splits + warp() * kSplit, state);
    sync_block();
    merge_splits(kPartTiles);
  }
  if (num_groups == 1) return;

  sync_block();
  if (thread_index() == 0) {
    fence_device();
    uint32_t* counter = args.finished + block_z() * args.num_kv_heads + kv_head;
    *is_last = atomic_increment(counter) + 1 == num_groups ? 1 : 0;
    if (*is_last != 0) *counter = 0;
  }
  sync_block();
  if (*is_last == 0) return;
  for (uint32_t tile = warp(); tile < A::kRowTiles; tile += kAttendWarps) {
    MergedTile total;
    total.clear();
    constexpr uint32_t kAtOnce = 8;
    for (uint32_t first = 0; first < num_groups; first += kAtOnce) {
      float sums[kAtOnce][Fragment::kD];
      float ends[kAtOnce][2 * Fragment::kTokensOfLane];
      TETRAD_UNROLL
      for (uint32_t g = 0; g < kAtOnce; ++g) {
        if (first + g >= num_groups) break;
        const float* theirs = args.partial + (of_sequence + first + g) * kPartial;
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; ++i)
          sums[g][i] = load_fresh(theirs + (tile * 32 + lane()) * Fragment::kD + i);
        TETRAD_UNROLL
        for (uint32_t i = 0; i < 2 * Fragment::kTokensOfLane; ++i)
          ends[g][i] = load_fresh(theirs + A::ends_at() + i);
      }
      TETRAD_UNROLL
      for (uint32_t g = 0; g < kAtOnce; ++g) {
        if (first + g >= num_groups) break;
        total.take(sums[g], ends[g]);
      }
    }
    store(total, tile);
  }
}

TETRAD_KERNEL(attend_decode_64, AttentionArgs, 256) {
  attend_decode<64>(args);
}
TETRAD_KERNEL(attend_decode_128, AttentionArgs, 256) {
  attend_decode<128>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
