#pragma once

// The launches of attention over the paged FP8 cache (attention_tile.h says how it is computed):
// decode, where a block takes a group of keys of one token, and prefill, where a warp takes some
// columns of a sequence through all its keys.

#include "kernels/gpu/attention_tile.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

/// A warp's split of a group.
template <uint32_t kHeadDim>
TETRAD_DEVICE void attend_split(const AttentionArgs& args, uint32_t sequence, uint32_t kv_head,
                                uint64_t token, uint32_t num_keys, uint32_t split,
                                SoftmaxState<kHeadDim> (&state)[1]) {
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
  typename A::Block block;
  const uint64_t first = A::cache_at(args, kv_head, shuffle(physical, 0));
  block.load_keys(args.k_cache + first);
  block.load_values(args.v_cache + first);
  const uint32_t num_heads = args.num_kv_heads * args.group;
  const uint32_t column = Fragment::b_token(lane());
  typename A::Queries queries[1];
  queries[0].load(column < args.group
                      ? args.q + (token * num_heads + kv_head * args.group + column) * kHeadDim
                      : nullptr);
  state[0].clear();
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kSplitBlocks; ++i) {
    if (i >= num_blocks) break;
    const uint64_t next = A::cache_at(args, kv_head, shuffle(physical, (i + 1) % 32));
    const bool has_next = i + 1 < num_blocks;
    const uint32_t keys = num_keys - (first_block + i) * kKvBlock;
    int32_t limit[1][Fragment::kTokensOfLane];
    TETRAD_UNROLL
    for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t)
      limit[0][t] = static_cast<int32_t>(keys);
    float s[1][Fragment::kD];
    uint32_t b[1][Fragment::kB];
    A::scores(block, queries, s);
    // Registers are asked for again as soon as they are free.
    if (has_next) block.load_keys(args.k_cache + next);
    A::soften(state, s, limit, keys >= kKvBlock, b);
    if (keys < kKvBlock) block.clear_values(keys);
    A::add_values(state, block, b);
    if (has_next) block.load_values(args.v_cache + next);
  }
  A::gather(state[0]);
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
  typename A::State state[1];
  if (warp() < num_splits) {
    attend_split<kHeadDim>(args, sequence, kv_head, token, num_keys, first_split + warp(), state);
    A::template save<0, kPartTiles>(splits + warp() * kSplit, state[0]);
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
      A::template save<A::kRowTiles - kPartTiles, kPartTiles>(splits + warp() * kSplit, state[0]);
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

inline constexpr uint32_t kPrefillTiles = kPrefillTilesOf<Fragment>;

inline constexpr uint32_t kPrefillWarps = kPrefillWarpsOf<Fragment>;

template <uint32_t kHeadDim>
TETRAD_DEVICE void attend_prefill(const AttentionArgs& args) {
  using A = Attention<kHeadDim>;
  wait_for_launches_before();
  let_next_launch_begin();
  const uint32_t item = block_x() * kPrefillWarps + warp();
  if (item >= args.num_items) return;
  const auto sequence = static_cast<uint32_t>(args.items[2 * item]);
  const auto first_column = static_cast<uint32_t>(args.items[2 * item + 1]);
  const uint32_t kv_head = block_y();
  const auto context = static_cast<uint32_t>(args.context_len[sequence]);
  const auto query_len = static_cast<uint32_t>(args.query_len[sequence]);
  const auto first_token = static_cast<uint64_t>(args.query_start[sequence]);
  const uint32_t num_columns = query_len * args.group;
  const uint32_t num_heads = args.num_kv_heads * args.group;

  constexpr uint32_t kPartial = partial_floats<Fragment>(kHeadDim);
  // Of each tile the group, then the total.
  float* merged = reinterpret_cast<float*>(shared_memory()) + warp() * kPrefillTiles * 2 * kPartial;
  typename A::Queries queries[kPrefillTiles];
  int32_t last_key[kPrefillTiles][Fragment::kTokensOfLane];  // the last one a lane's token sees
  TETRAD_UNROLL
  for (uint32_t n = 0; n < kPrefillTiles; ++n) {
    const uint32_t first = first_column + n * Fragment::kTokens;
    const uint32_t mine = first + Fragment::b_token(lane());
    queries[n].load(mine < num_columns ? args.q + ((first_token + mine / args.group) * num_heads +
                                                   kv_head * args.group + mine % args.group) *
                                                      kHeadDim
                                       : nullptr);
    A::save_nothing(merged + 2 * n * kPartial);
    A::save_nothing(merged + (2 * n + 1) * kPartial);
    TETRAD_UNROLL
    for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t) {
      const uint32_t column = first + Fragment::d_token(lane(), t);
      last_key[n][t] = static_cast<int32_t>(context + column / args.group);
    }
  }
  uint32_t last_column = first_column + kPrefillTiles * Fragment::kTokens - 1;
  if (last_column >= num_columns) last_column = num_columns - 1;
  // Keys that any column sees, that the first one sees, and that there are.
  const uint32_t num_keys = context + last_column / args.group + 1;
  const uint32_t seen_by_all = context + first_column / args.group + 1;
  const uint32_t written = context + query_len;

  const uint32_t num_blocks = tiles_for(num_keys, kKvBlock);
  const int32_t* table = args.block_table + static_cast<uint64_t>(sequence) * args.table_stride;
  uint32_t physical = 0;  // lane i: of block index / 32 * 32 + i
  const auto place_of = [&](uint32_t index) TETRAD_INLINE -> uint64_t {
    if (index % 32 == 0 && index + lane() < num_blocks)
      physical = static_cast<uint32_t>(table[index + lane()]);
    return A::cache_at(args, kv_head, shuffle(physical, index % 32));
  };
  typename A::Block block;
  const uint64_t first_place = place_of(0);
  block.load_keys(args.k_cache + first_place);
  block.load_values(args.v_cache + first_place);
  typename A::State split[kPrefillTiles];
  for (uint32_t index = 0; index < num_blocks; ++index) {
    if (index % kSplitBlocks == 0) {
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kPrefillTiles; ++n)
        split[n].clear();
    }
    const uint64_t next = place_of(index + 1);
    const bool has_next = index + 1 < num_blocks;
    const uint32_t first_key = index * kKvBlock;
    const bool sees_all = first_key + kKvBlock <= seen_by_all;
    int32_t limit[kPrefillTiles][Fragment::kTokensOfLane];
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kPrefillTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t)
        limit[n][t] = last_key[n][t] + 1 - static_cast<int32_t>(first_key);
    }
    float s[kPrefillTiles][Fragment::kD];
    uint32_t b[kPrefillTiles][Fragment::kB];
    A::scores(block, queries, s);
    if (has_next) block.load_keys(args.k_cache + next);
    A::soften(split, s, limit, sees_all, b);
    if (first_key + kKvBlock > written) block.clear_values(written - first_key);
    A::add_values(split, block, b);
    if (has_next) block.load_values(args.v_cache + next);
    // What is merged waits in shared memory: registers hold one split alone.
    const bool is_end = index + 1 == num_blocks;
    if ((index + 1) % kSplitBlocks == 0 || is_end) {
      const bool ends_group = (index + 1) % (kSplitBlocks * kAttendWarps) == 0 || is_end;
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kPrefillTiles; ++n) {
        A::gather(split[n]);
        float* group = merged + 2 * n * kPartial;
        A::merge(group, split[n]);
        if (ends_group) {
          A::load(split[n], group);
          A::merge(group + kPartial, split[n]);
          A::save_nothing(group);
        }
      }
    }
  }

  TETRAD_UNROLL
  for (uint32_t n = 0; n < kPrefillTiles; ++n) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t column = first_column + n * Fragment::kTokens + Fragment::d_token(lane(), i);
      if (column >= num_columns) continue;
      const float* total = merged + (2 * n + 1) * kPartial;
      const float denominator = total[A::ends_at() + 2 * (i % Fragment::kTokensOfLane) + 1];
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < A::kRowTiles; ++tile)
        A::store(args, first_token + column / args.group,
                 kv_head * args.group + column % args.group,
                 A::dim_of_row(tile, Fragment::d_row(lane(), i)),
                 divide(total[(tile * 32 + lane()) * Fragment::kD + i], denominator) *
                     (args.v_scale * kE4m3Factor));
    }
  }
}

TETRAD_KERNEL(attend_decode_64, AttentionArgs, 256) {
  attend_decode<64>(args);
}
TETRAD_KERNEL(attend_decode_128, AttentionArgs, 256) {
  attend_decode<128>(args);
}
TETRAD_KERNEL(attend_prefill_64, AttentionArgs, kPrefillWarps * 32) {
  attend_prefill<64>(args);
}
TETRAD_KERNEL(attend_prefill_128, AttentionArgs, kPrefillWarps * 32) {
  attend_prefill<128>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
