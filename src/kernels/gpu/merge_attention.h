#pragma once

// Decode's attention: how what warps and few blocks have computed of a sequence's keys is merged
// (attention_tile.h says in which order, merge_groups.h how many blocks are).

#include "kernels/gpu/attention_tile.h"
#include "kernels/gpu/last_block.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

/// Shared memory of a decode block (attend_decode_shared_bytes).
template <uint32_t kHeadDim>
struct DecodeAttentionShared {
  static constexpr uint32_t kSplit = partial_floats<Fragment>(kHeadDim / kMergePartsOf<Fragment>);
  static constexpr uint32_t kQueryStride = kHeadDim + kQueryPadding;
  float* splits;      // [kAttendWarps][kSplit]
  uint32_t* is_last;  // [4]
  uint16_t* q;        // [kMaxGroup][kQueryStride] halves
  uint8_t* k;         // [kHeadDim] E4M3, as v
  uint8_t* v;

  TETRAD_DEVICE DecodeAttentionShared() {
    splits = reinterpret_cast<float*>(shared_memory());
    is_last = reinterpret_cast<uint32_t*>(splits + kAttendWarps * kSplit);
    q = reinterpret_cast<uint16_t*>(is_last + 4);
    k = reinterpret_cast<uint8_t*>(q + kMaxGroup * kQueryStride);
    v = k + kHeadDim;
  }
};

/// One tile of dimensions of a merge over several partials.
struct MergedTile {
  float largest[Fragment::kTokensOfLane];
  float denominator[Fragment::kTokensOfLane];
  float sums[Fragment::kD];

  TETRAD_DEVICE void clear() {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kTokensOfLane; ++i) {
      largest[i] = -1e9f;
      denominator[i] = 0;
    }
    TETRAD_UNROLL
    for (float& sum : sums)
      sum = 0;
  }
  /// The first `count` of several, in order. Multiplying with a power of two commutes with
  /// rounding, so all may be taken to the largest of their maxima at once: the bits are those of
  /// one after the other.
  template <uint32_t kCount>
  TETRAD_DEVICE void take(const float (&their_sums)[kCount][Fragment::kD],
                          const float (&their_ends)[kCount][2 * Fragment::kTokensOfLane],
                          uint32_t count) {
    TETRAD_UNROLL
    for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t) {
      const float before = largest[t];
      TETRAD_UNROLL
      for (uint32_t g = 0; g < kCount; ++g)
        largest[t] = larger(largest[t], g < count ? their_ends[g][2 * t] : before);
      const float of_total = exact_power(before - largest[t]);
      denominator[t] *= of_total;
      TETRAD_UNROLL
      for (uint32_t i = t; i < Fragment::kD; i += Fragment::kTokensOfLane)
        sums[i] *= of_total;
      TETRAD_UNROLL
      for (uint32_t g = 0; g < kCount; ++g) {
        const float of_other = g < count ? exact_power(their_ends[g][2 * t] - largest[t]) : 0.0f;
        denominator[t] = fused_multiply_add(their_ends[g][2 * t + 1], of_other, denominator[t]);
        TETRAD_UNROLL
        for (uint32_t i = t; i < Fragment::kD; i += Fragment::kTokensOfLane)
          sums[i] = fused_multiply_add(their_sums[g][i], of_other, sums[i]);
      }
    }
  }
};

/// Floats that another block of this launch wrote, four or two at a time.
template <uint32_t kCount>
TETRAD_DEVICE void load_fresh_floats(float (&to)[kCount], const float* from) {
  if constexpr (kCount % 4 == 0) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCount; i += 4) {
      uint32_t words[4];
      load_fresh_16(words, from + i);
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        to[i + j] = __builtin_bit_cast(float, words[j]);
    }
  } else {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCount; ++i)
      to[i] = load_fresh(from + i);
  }
}

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
      constexpr uint32_t kAtOnce = 32 / Fragment::kD;
      for (uint32_t first = 0; first < num_splits; first += kAtOnce) {
        const uint32_t left = num_splits - first;
        float sums[kAtOnce][Fragment::kD];
        float ends[kAtOnce][kEnds];
        TETRAD_UNROLL
        for (uint32_t s = 0; s < kAtOnce; ++s) {
          // Those that are not there stand for the last one, which is at hand.
          const float* theirs = shared.splits + (first + (s < left ? s : left - 1)) * kSplit;
          A::get(theirs, of_part, sums[s]);
          A::get_ends(theirs + A::template ends_at<kPartTiles>(), ends[s]);
        }
        merged.take(sums, ends, left);
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

  /// All groups, few, of which num_blocks blocks have written their share, by the last of these.
  TETRAD_DEVICE void merge_by_last_block(uint32_t num_blocks) const {
    if (!is_last_of(args.finished + block_z() * args.num_kv_heads + kv_head, num_blocks,
                    shared.is_last))
      return;
    for (uint32_t tile = warp(); tile < A::kRowTiles; tile += kAttendWarps) {
      MergedTile total;
      total.clear();
      // All loads are on their way at once: what takes time is waiting for them.
      constexpr uint32_t kAtOnce = 32 / Fragment::kD;
      TETRAD_NO_UNROLL
      for (uint32_t first = 0; first < num_groups; first += kAtOnce) {
        const uint32_t left = num_groups - first;
        float sums[kAtOnce][Fragment::kD] = {};
        float ends[kAtOnce][kEnds] = {};
        TETRAD_UNROLL
        for (uint32_t g = 0; g < kAtOnce; ++g) {
          if (g >= left) continue;
          const float* theirs = partials + (first + g) * kPartial;
          load_fresh_floats(sums[g], theirs + (tile * 32 + lane()) * Fragment::kD);
          load_fresh_floats(ends[g], theirs + A::ends_at());
        }
        total.take(sums, ends, left);
      }
      store(total, tile);
    }
  }
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
