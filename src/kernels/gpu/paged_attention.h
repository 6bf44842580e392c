#pragma once

// Decode's launch of attention over the paged FP8 cache (attention_tile.h says how it is computed):
// a block takes some groups of keys of one token in turn. What qk_norm_rope does for prompts every
// block does here for its head, which costs less than a launch; the last group's block keeps key
// and value.

#include "kernels/gpu/merge_attention.h"

namespace tetrad::gpu {

/// One query a sequence, straight from the product that gives q, k and v.
struct DecodeAttentionArgs {
  AttentionArgs attention;
  QkNormRopeArgs rope;  // q is not used
};

namespace TETRAD_MACHINE {

/// q, k and v of one token and KV head, from what the product gave to what attention wants. The
/// block's threads take four numbers each: the group's queries, then the key, then the value.
template <uint32_t kHeadDim>
struct DecodeHead {
  static constexpr uint32_t kThreads = kAttendWarps * 32;
  static constexpr uint32_t kFours = kHeadDim / 4;  // of a head
  const QkNormRopeArgs& args;
  uint32_t kv_head;
  uint32_t group;
  uint32_t position;
  QkvFour first;  // the thread's

  TETRAD_DEVICE DecodeHead(const QkNormRopeArgs& of, uint32_t head, uint32_t heads_of_group,
                           uint32_t token_position)
      : args(of),
        kv_head(head),
        group(heads_of_group),
        position(token_position),
        first(four_at(thread_index())) {}

  /// After the launch has waited. `slot`: where to keep key and value, none below 0. A sync_block()
  /// must follow.
  template <bool kAmongRanks>
  TETRAD_DEVICE void take(uint64_t token, int64_t slot,
                          const DecodeAttentionShared<kHeadDim>& shared) const {
    const float* row = args.qkv + token * (args.q_size + 2 * args.kv_size);
    QkvFour four = first;
    Words4 numbers = *reinterpret_cast<const Words4*>(row + four.at);
    const QkInverses<kAmongRanks> inverse(args, token);
    const uint32_t count = (group + 2) * kFours;
    TETRAD_NO_UNROLL
    for (uint32_t i = thread_index();;) {
      float values[4];
      four.turn(numbers, inverse, args, values);
      if (i < count) store(i, four, values, slot, shared);
      i += kThreads;
      if (i - lane() >= count) break;
      four = four_at(i);
      numbers = *reinterpret_cast<const Words4*>(row + four.at);
    }
  }

 private:
  /// The i-th four numbers of the block's; beyond the last these once more.
  TETRAD_DEVICE QkvFour four_at(uint32_t i) const {
    const uint32_t last = (group + 2) * kFours - 1;
    const uint32_t at = i < last ? i : last;
    const uint32_t of_head = at % kFours * 4;
    uint32_t column = args.q_size + kv_head * kHeadDim + of_head;
    if (at < group * kFours) column = kv_head * group * kHeadDim + at * 4;
    if (at >= (group + 1) * kFours) column += args.kv_size;
    return QkvFour(args, column, kHeadDim, position);
  }
  TETRAD_DEVICE void store(uint32_t i, const QkvFour& four, const float (&values)[4], int64_t slot,
                           const DecodeAttentionShared<kHeadDim>& shared) const {
    if (four.part == QkvPart::q) {
      *reinterpret_cast<Words2*>(shared.q + i / kFours * shared.kQueryStride + four.d) =
          QkvFour::as_query(values, args);
      return;
    }
    const uint32_t word = four.kept(values, args);
    *reinterpret_cast<uint32_t*>((four.part == QkvPart::k ? shared.k : shared.v) + four.d) = word;
    four.keep(word, args, slot, kHeadDim);
  }
};

/// A warp's split of a group. All but the token's own key lies in the cache before the launch
/// waits.
template <uint32_t kHeadDim>
struct DecodeSplit {
  using A = Attention<kHeadDim>;
  /// Which blocks of the cache.
  struct Place {
    uint32_t first_block;
    uint32_t num_blocks;
    uint32_t physical;  // lane i: where block i is

    TETRAD_DEVICE Place(const AttentionArgs& args, uint32_t sequence, uint32_t num_keys,
                        uint32_t split)
        : first_block(split * kSplitBlocks) {
      const uint32_t blocks = tiles_for(num_keys, kKvBlock);
      const uint32_t left = first_block < blocks ? blocks - first_block : 0;
      num_blocks = left < kSplitBlocks ? left : kSplitBlocks;
      physical = 0;
      // All at once: a load each would wait for the one before.
      if (lane() < num_blocks)
        physical = static_cast<uint32_t>(
            args.block_table[static_cast<uint64_t>(sequence) * args.table_stride + first_block +
                             lane()]);
    }
    /// Where block i is, or another one of the sequence's.
    TETRAD_DEVICE uint32_t block(uint32_t i) const {
      return shuffle(physical, i < num_blocks ? i : 0);
    }
  };
  /// The keys' blocks, then, each as soon as it has been used, the values', and then the next
  /// keys': registers are asked for again as soon as they are free.
  typename A::template Block<1> ahead[kSplitBlocks];

  TETRAD_DEVICE void start(const AttentionArgs& args, uint32_t kv_head, const Place& place) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kSplitBlocks; ++i)
      ask_keys(args, kv_head, place, i);
  }
  /// Where there are no keys for some that nobody looks at: of loads under a condition the compiler
  /// makes loads and copies under a condition, which wait for them.
  TETRAD_DEVICE void ask_keys(const AttentionArgs& args, uint32_t kv_head, const Place& place,
                              uint32_t i) {
    ahead[i].load_keys(args.k_cache + A::cache_at(args, kv_head, place.block(i)), 0);
  }

  TETRAD_DEVICE void attend(const AttentionArgs& args, uint32_t kv_head, uint32_t num_keys,
                            const Place& place, const Place& next,
                            const DecodeAttentionShared<kHeadDim>& shared,
                            SoftmaxState<kHeadDim>& state) {
    const uint32_t num_blocks = place.num_blocks;
    const uint32_t column = Fragment::b_token(lane());
    typename A::Queries queries;
    queries.load(column < args.group ? shared.q + column * shared.kQueryStride : nullptr);
    const uint32_t keys = num_keys - place.first_block * kKvBlock;
    // The token's own key is the split's last one. What only this split needs stands apart: the
    // others jump over it.
    const bool is_end = keys <= kSplitKeys;
    if (is_end) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kSplitBlocks; ++i) {
        if (i + 1 == num_blocks) ahead[i].set_key((keys - 1) % kKvBlock, shared.k);
      }
    }
    float s[1][kSplitBlocks][Fragment::kD];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kSplitBlocks; ++i) {
      A::scores([&](uint32_t step, uint32_t(&a)[Fragment::kA])
                    TETRAD_INLINE { ahead[i].keys_as_a(step, a); },
                [&](uint32_t, uint32_t step, uint32_t(&b)[Fragment::kB])
                    TETRAD_INLINE { queries.as_b(step, b); },
                i, s);
      ahead[i].load_values(args.v_cache + A::cache_at(args, kv_head, place.block(i)), 0);
      keep_order();
    }
    if (is_end) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kSplitBlocks; ++i) {
        int32_t limit[Fragment::kTokensOfLane];
        TETRAD_UNROLL
        for (int32_t& of_token : limit)
          of_token = static_cast<int32_t>(keys) - static_cast<int32_t>(i * kKvBlock);
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
    if (is_end) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kSplitBlocks; ++i) {
        if (i + 1 != num_blocks) continue;
        ahead[i].set_value((keys - 1) % kKvBlock, shared.v);
        ahead[i].clear_values(keys - i * kKvBlock, lane());
      }
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kSplitBlocks; ++i) {
      if (i >= num_blocks) break;
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < A::kRowTiles; ++tile) {
        uint32_t a[Fragment::kA];
        ahead[i].values_as_a(tile, a);
        Fragment::multiply_add(state.sums[tile], a, b[0][i]);
      }
      ask_keys(args, kv_head, next, i);
    }
  }
};

template <uint32_t kHeadDim, bool kAmongRanks>
TETRAD_DEVICE void attend_decode(const DecodeAttentionArgs& all) {
  using A = Attention<kHeadDim>;
  using Merge = DecodeMerge<kHeadDim>;
  using Place = typename DecodeSplit<kHeadDim>::Place;
  const AttentionArgs& args = all.attention;
  const DecodeAttentionShared<kHeadDim> shared;
  const auto sequence = static_cast<uint32_t>(args.sequences[block_z()]);
  const uint32_t kv_head = block_y();
  const auto position = static_cast<uint32_t>(args.context_len[sequence]);
  const auto token = static_cast<uint64_t>(args.query_start[sequence]);
  const uint32_t num_keys = position + 1;
  const uint32_t num_groups = tiles_for(num_keys, kGroupKeys);
  const uint32_t num_blocks = num_groups < grid_x() ? num_groups : grid_x();
  if (block_x() >= num_blocks) return;

  // Of the cache this may read the row that qk_norm_rope is writing in the same step: set_key() and
  // set_value() put the token's own there.
  const auto place_in = [&](uint32_t group) TETRAD_INLINE {
    return Place(args, sequence, num_keys, group * kAttendWarps + warp());
  };
  DecodeSplit<kHeadDim> split;
  Place place = place_in(block_x());
  // Of the next group that is the block's: its place is known a group before it is asked for.
  Place next = place_in(block_x() + num_blocks);
  split.start(args, kv_head, place);
  const DecodeHead<kHeadDim> head(all.rope, kv_head, args.group, position);
  const bool keeps = (num_groups - 1) % num_blocks == block_x();
  const int64_t slot = keeps ? all.rope.slot_mapping[token] : -1;
  wait_for_launches_before();
  let_next_launch_begin();
  head.template take<kAmongRanks>(token, slot, shared);
  sync_block();

  const Merge merge{
      args,
      shared,
      kv_head,
      token,
      num_groups,
      args.partial + (static_cast<uint64_t>(block_z()) * args.num_kv_heads + kv_head) *
                         args.max_groups * Merge::kPartial};
  for (uint32_t group = block_x(); group < num_groups; group += num_blocks) {
    const uint32_t splits_left = tiles_for(num_keys, kSplitKeys) - group * kAttendWarps;
    const uint32_t num_splits = splits_left < kAttendWarps ? splits_left : kAttendWarps;
    const Place after = place_in(group + 2 * num_blocks);
    typename A::State state;
    // Without a next group the same keys once more, which are near.
    if (next.num_blocks == 0) next.physical = place.physical;
    if (warp() < num_splits) {
      split.attend(args, kv_head, num_keys, place, next, shared, state);
      A::template save<0, Merge::kPartTiles>(shared.splits + warp() * Merge::kSplit, state);
    }
    place = next;
    next = after;
    merge.merge_splits(group, num_splits, state);
  }
  if (num_groups > 1 && args.max_groups <= kGroupsOfLastBlock)
    merge.merge_by_last_block(num_blocks);
}

TETRAD_KERNEL(attend_decode_64, DecodeAttentionArgs, 256) {
  attend_decode<64, false>(args);
}
TETRAD_KERNEL(attend_decode_128, DecodeAttentionArgs, 256) {
  attend_decode<128, false>(args);
}
TETRAD_KERNEL(attend_decode_64_of_rank, DecodeAttentionArgs, 256) {
  attend_decode<64, true>(args);
}
TETRAD_KERNEL(attend_decode_128_of_rank, DecodeAttentionArgs, 256) {
  attend_decode<128, true>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
