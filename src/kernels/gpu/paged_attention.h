#pragma once

// Decode's launch of attention over the paged FP8 cache (attention_tile.h says how it is computed):
// a block takes some groups of keys of one token in turn. What qk_norm_rope does for prompts every
// block does here for its head, which costs less than a launch; the last group's block keeps key
// and value.

#include "kernels/gpu/attention_tile.h"
#include "kernels/gpu/last_block.h"

namespace tetrad::gpu {

/// One query a sequence, straight from the product that gives q, k and v.
struct DecodeAttentionArgs {
  AttentionArgs attention;
  QkNormRopeArgs rope;  // q is not used
};

namespace TETRAD_MACHINE {

/// Shared memory of a decode block (attend_decode_shared_bytes).
template <uint32_t kHeadDim>
struct DecodeAttentionShared {
  static constexpr uint32_t kSplit = partial_floats<Fragment>(kHeadDim / kMergePartsOf<Fragment>);
  static constexpr uint32_t kQueryStride = kHeadDim + kQueryPadding;
  float* splits;      // [kAttendWarps][kSplit]
  uint32_t* is_last;  // [4]
  float* values;      // [kMaxGroup + 1][kHeadDim]: q and k, normed
  float* rotation;    // [kHeadDim]: cosines and sines
  float* chunk_sums;  // [kMaxNormChunks]
  uint16_t* q;        // [kMaxGroup][kQueryStride] halves
  uint8_t* k;         // [kHeadDim] E4M3, as v
  uint8_t* v;

  TETRAD_DEVICE DecodeAttentionShared() {
    splits = reinterpret_cast<float*>(shared_memory());
    is_last = reinterpret_cast<uint32_t*>(splits + kAttendWarps * kSplit);
    values = reinterpret_cast<float*>(is_last + 4);
    rotation = values + (kMaxGroup + 1) * kHeadDim;
    chunk_sums = rotation + kHeadDim;
    q = reinterpret_cast<uint16_t*>(chunk_sums + kMaxNormChunks);
    k = reinterpret_cast<uint8_t*>(q + kMaxGroup * kQueryStride);
    v = k + kHeadDim;
  }
};

/// q, k and v of one token and KV head, from what the product gave to what attention wants. The
/// block's threads take four numbers each, of the group's queries and then of the key.
template <uint32_t kHeadDim>
struct DecodeHead {
  static constexpr uint32_t kThreads = kAttendWarps * 32;
  static constexpr uint32_t kLoads = (kMaxGroup + 1) * kHeadDim / 4 / kThreads + 1;
  static constexpr uint32_t kFours = kHeadDim / 4;  // of a head
  Words4 norms[kLoads];

  /// Before the launch waits: what was there before.
  TETRAD_DEVICE void load_norms(const QkNormRopeArgs& args, uint32_t kv_head, uint32_t group,
                                uint32_t position, float* rotation) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      const uint32_t four = i * kThreads + thread_index();
      if (four < group * kFours)
        norms[i] =
            *reinterpret_cast<const Words4*>(args.q_norm + kv_head * group * kHeadDim + four * 4);
      else if (four < (group + 1) * kFours)
        norms[i] = *reinterpret_cast<const Words4*>(args.k_norm + kv_head * kHeadDim +
                                                    (four - group * kFours) * 4);
    }
    if (thread_index() < args.rotary_dim)
      rotation[thread_index()] =
          args.rotation[static_cast<uint64_t>(position) * args.rotary_dim + thread_index()];
  }

  /// After it. A sync_block() must follow.
  template <bool kAmongRanks>
  TETRAD_DEVICE void take(const QkNormRopeArgs& args, uint32_t kv_head, uint32_t group,
                          uint64_t token, const DecodeAttentionShared<kHeadDim>& shared) {
    const float* from = args.qkv + token * (args.q_size + 2 * args.kv_size);
    QkNumbers<kAttendWarps> numbers;
    if constexpr (!kAmongRanks) numbers.load(from, args.q_size, args.kv_size);
    Words4 mine[kLoads];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      const uint32_t four = i * kThreads + thread_index();
      if (four >= (group + 1) * kFours) break;
      const uint32_t at = four < group * kFours
                              ? kv_head * group * kHeadDim + four * 4
                              : args.q_size + kv_head * kHeadDim + (four - group * kFours) * 4;
      mine[i] = *reinterpret_cast<const Words4*>(from + at);
    }
    if (thread_index() < kFours) {
      const float* v = from + args.q_size + args.kv_size + kv_head * kHeadDim + thread_index() * 4;
      reinterpret_cast<uint32_t*>(shared.v)[thread_index()] =
          kept_value(v[0], v[1], args.v_scale) | kept_value(v[2], v[3], args.v_scale) << 16;
    }
    if constexpr (!kAmongRanks) {
      numbers.add_squares(shared.chunk_sums);
      sync_block();
    }
    const QkInverses<kAmongRanks> inverse(shared.chunk_sums, args, token);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      const uint32_t four = i * kThreads + thread_index();
      if (four >= (group + 1) * kFours) break;
      *reinterpret_cast<Words4*>(shared.values + four * 4) =
          normed_four(mine[i], four < group * kFours ? inverse.q : inverse.k, norms[i]);
    }
    sync_block();
    for (uint32_t i = thread_index() * 2; i < (group + 1) * kHeadDim; i += kThreads * 2) {
      const uint32_t d = i % kHeadDim;
      const float* head = shared.values + i - d;
      if (i < group * kHeadDim)
        *reinterpret_cast<uint32_t*>(shared.q + i / kHeadDim * shared.kQueryStride + d) =
            query_halves(head, d, shared.rotation, args);
      else
        *reinterpret_cast<uint16_t*>(shared.k + d) =
            static_cast<uint16_t>(kept_key(head, d, shared.rotation, args));
    }
  }

  /// Into the cache, by one block a head.
  TETRAD_DEVICE static void keep(const QkNormRopeArgs& args, uint32_t kv_head, uint64_t token,
                                 const DecodeAttentionShared<kHeadDim>& shared) {
    const int64_t slot = args.slot_mapping[token];
    if (slot < 0 || thread_index() >= kFours) return;
    const uint64_t at =
        cache_place(slot, kv_head, args.kv_size / kHeadDim, kHeadDim) + thread_index() * 4;
    *reinterpret_cast<uint32_t*>(args.k_cache + at) =
        reinterpret_cast<const uint32_t*>(shared.k)[thread_index()];
    *reinterpret_cast<uint32_t*>(args.v_cache + at) =
        reinterpret_cast<const uint32_t*>(shared.v)[thread_index()];
  }
};

/// A warp's split of a group. All but the token's own key lies in the cache before the launch
/// waits.
template <uint32_t kHeadDim>
struct DecodeSplit {
  using A = Attention<kHeadDim>;
  static constexpr uint32_t kLinesOfBlock = kKvBlock * kHeadDim / 128;
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
    /// Asks for values to come as near as the L2 cache.
    TETRAD_DEVICE void prefetch_values(const AttentionArgs& args, uint32_t kv_head) const {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kSplitBlocks; ++i) {
        const uint64_t at =
            A::cache_at(args, kv_head, shuffle(physical, i)) + lane() % kLinesOfBlock * 128;
        if (i < num_blocks && lane() < kLinesOfBlock) prefetch_l2(args.v_cache + at);
      }
    }
  };
  /// The keys' blocks, then, each as soon as it has been used, the values'.
  typename A::template Block<1> ahead[kSplitBlocks];

  /// Asks for the keys, and where there are none for some that nobody looks at: of loads under a
  /// condition the compiler makes loads and copies under a condition, which wait for them.
  TETRAD_DEVICE void start(const AttentionArgs& args, uint32_t kv_head, const Place& place) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kSplitBlocks; ++i)
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
    float s[1][kSplitBlocks][Fragment::kD];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kSplitBlocks; ++i) {
      const bool is_last = i + 1 == num_blocks && keys <= kSplitKeys;
      if (is_last) ahead[i].set_key((keys - 1) % kKvBlock, shared.k);
      if (i < num_blocks)
        A::scores([&](uint32_t step, uint32_t(&a)[Fragment::kA])
                      TETRAD_INLINE { ahead[i].keys_as_a(step, a); },
                  [&](uint32_t, uint32_t step, uint32_t(&b)[Fragment::kB])
                      TETRAD_INLINE { queries.as_b(step, b); },
                  i, s);
      // Registers are asked for again as soon as they are free.
      ahead[i].load_values(args.v_cache + A::cache_at(args, kv_head, place.block(i)), 0);
      if (keys < (i + 1) * kKvBlock) {
        int32_t limit[Fragment::kTokensOfLane];
        TETRAD_UNROLL
        for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t)
          limit[t] = static_cast<int32_t>(keys) - static_cast<int32_t>(i * kKvBlock);
        A::mask(s[0][i], limit, lane());
      }
    }
    // Behind this split's own, for which the warp waits next.
    next.prefetch_values(args, kv_head);
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
      const bool is_last = i + 1 == num_blocks && keys <= kSplitKeys;
      if (is_last) {
        ahead[i].set_value((keys - 1) % kKvBlock, shared.v);
        ahead[i].clear_values(keys - i * kKvBlock, lane());
      }
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < A::kRowTiles; ++tile) {
        uint32_t a[Fragment::kA];
        ahead[i].values_as_a(tile, a);
        Fragment::multiply_add(state.sums[tile], a, b[0][i]);
      }
    }
  }
};

/// Merging of one token's splits and groups for one KV head: a warp takes a tile of dimensions.
template <uint32_t kHeadDim>
struct DecodeMerge {
  using A = Attention<kHeadDim>;
  static constexpr uint32_t kPartial = partial_floats<Fragment>(kHeadDim);
  static constexpr uint32_t kParts = kMergePartsOf<Fragment>;
  static constexpr uint32_t kPartTiles = A::kRowTiles / kParts;
  static constexpr uint32_t kSplit = DecodeAttentionShared<kHeadDim>::kSplit;
  static constexpr uint32_t kEnds = 2 * Fragment::kTokensOfLane;
  const AttentionArgs& args;
  const DecodeAttentionShared<kHeadDim>& shared;
  uint32_t kv_head;
  uint64_t token;
  uint32_t num_groups;
  float* partials;  // [num_groups][kPartial], of this token and head

  TETRAD_DEVICE void store(const MergedTile& merged, uint32_t tile) const {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t column = Fragment::d_token(lane(), i);
      if (column < args.group)
        A::store(args, token, kv_head * args.group + column,
                 A::dim_of_row(tile, Fragment::d_row(lane(), i)),
                 divide(merged.sums[i], merged.denominator[i % Fragment::kTokensOfLane]) *
                     (args.v_scale * kE4m3Factor));
    }
  }

  /// The tiles from first_tile on of a group whose splits stand in shared memory.
  TETRAD_DEVICE void merge_part(uint32_t group, uint32_t num_splits, uint32_t first_tile) const {
    for (uint32_t of_part = warp(); of_part < kPartTiles; of_part += kAttendWarps) {
      const uint32_t tile = first_tile + of_part;
      MergedTile merged;
      merged.clear();
      for (uint32_t s = 0; s < num_splits; ++s) {
        float sums[Fragment::kD];
        float ends[kEnds];
        A::get(shared.splits + s * kSplit, of_part, sums);
        A::get_ends(shared.splits + s * kSplit + A::template ends_at<kPartTiles>(), ends);
        merged.take(sums, ends);
      }
      if (num_groups == 1) {
        store(merged, tile);
        continue;
      }
      float* mine = partials + group * kPartial;
      A::put(mine, tile, merged.sums);
      if (tile == 0) A::put_ends(mine + A::ends_at(), merged.largest, merged.denominator);
    }
  }

  /// A group, of which every warp below num_splits has a split.
  TETRAD_DEVICE void merge_splits(uint32_t group, uint32_t num_splits,
                                  const SoftmaxState<kHeadDim>& state) const {
    sync_block();
    merge_part(group, num_splits, 0);
    if constexpr (kParts == 2) {
      sync_block();
      if (warp() < num_splits)
        A::template save<A::kRowTiles - kPartTiles, kPartTiles>(shared.splits + warp() * kSplit,
                                                                state);
      sync_block();
      merge_part(group, num_splits, kPartTiles);
    }
    sync_block();
  }

  /// All groups, of which num_blocks blocks have written their share, by the last of these.
  TETRAD_DEVICE void merge_groups(uint32_t num_blocks) const {
    if (!is_last_of(args.finished + block_z() * args.num_kv_heads + kv_head, num_blocks,
                    shared.is_last))
      return;
    // All loads of some groups at once: what takes time is waiting for them.
    constexpr uint32_t kAtOnce = 32 / Fragment::kD;
    for (uint32_t tile = warp(); tile < A::kRowTiles; tile += kAttendWarps) {
      MergedTile total;
      total.clear();
      for (uint32_t first = 0; first < num_groups; first += kAtOnce) {
        uint32_t sums_words[kAtOnce][Fragment::kD / 4][4];
        float ends[kAtOnce][kEnds];
        TETRAD_UNROLL
        for (uint32_t g = 0; g < kAtOnce; ++g) {
          if (first + g >= num_groups) break;
          const float* theirs = partials + (first + g) * kPartial;
          TETRAD_UNROLL
          for (uint32_t i = 0; i < Fragment::kD / 4; ++i)
            load_fresh_16(sums_words[g][i], theirs + (tile * 32 + lane()) * Fragment::kD + 4 * i);
          TETRAD_UNROLL
          for (uint32_t i = 0; i < kEnds; ++i)
            ends[g][i] = load_fresh(theirs + A::ends_at() + i);
        }
        TETRAD_UNROLL
        for (uint32_t g = 0; g < kAtOnce; ++g) {
          if (first + g >= num_groups) break;
          float sums[Fragment::kD];
          TETRAD_UNROLL
          for (uint32_t i = 0; i < Fragment::kD; ++i)
            sums[i] = __builtin_bit_cast(float, sums_words[g][i / 4][i % 4]);
          total.take(sums, ends[g]);
        }
      }
      store(total, tile);
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
  place.prefetch_values(args, kv_head);
  DecodeHead<kHeadDim> head;
  head.load_norms(all.rope, kv_head, args.group, position, shared.rotation);
  wait_for_launches_before();
  let_next_launch_begin();
  head.template take<kAmongRanks>(all.rope, kv_head, args.group, token, shared);
  sync_block();
  if ((num_groups - 1) % num_blocks == block_x()) head.keep(all.rope, kv_head, token, shared);

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
    if (warp() < num_splits) {
      split.attend(args, kv_head, num_keys, place, next, shared, state);
      A::template save<0, Merge::kPartTiles>(shared.splits + warp() * Merge::kSplit, state);
    }
    // The next keys come while this group's splits are merged. Without a next group the same once
    // more, which are near.
    if (next.num_blocks == 0) next.physical = place.physical;
    place = next;
    next = after;
    split.start(args, kv_head, place);
    merge.merge_splits(group, num_splits, state);
  }
  if (num_groups > 1) merge.merge_groups(num_blocks);
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
