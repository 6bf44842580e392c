#pragma once

// Decode's attention: how what warps and blocks have computed of a sequence's keys is merged
// (attention_tile.h says in which order).

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
    for (uint32_t i = 0; i < Fragment::kD; ++i)
      sums[i] = 0;
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
      // All at once where there are registers for it.
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

  /// All groups, of which num_blocks blocks have written their share, by the last of these.
  TETRAD_DEVICE void merge_groups(uint32_t num_blocks) const {
    if (!is_last_of(args.finished + block_z() * args.num_kv_heads + kv_head, num_blocks,
                    shared.is_last))
      return;
    if (num_groups > kFewGroups && num_groups <= kManyGroups) {
      merge_many();
    } else {
      merge_few();
    }
  }

 private:
  /// Of so many groups all loads are on their way at once: what takes time is waiting for them.
  static constexpr uint32_t kFewGroups = 32 / Fragment::kD;
  static constexpr uint32_t kThreads = kAttendWarps * 32;
  static constexpr uint32_t kTokens = Fragment::kTokens;
  /// Whose ends fit where the splits were.
  static constexpr uint32_t kManyGroups = kAttendWarps * kSplit / (2 * kTokens);

  template <uint32_t kCount>
  TETRAD_DEVICE void load_sums(uint32_t first, uint32_t tile,
                               float (&sums)[kCount][Fragment::kD]) const {
    TETRAD_UNROLL
    for (uint32_t g = 0; g < kCount; ++g) {
      if (first + g >= num_groups) continue;
      load_fresh_floats(sums[g],
                        partials + (first + g) * kPartial + (tile * 32 + lane()) * Fragment::kD);
    }
  }

  TETRAD_DEVICE void merge_few() const {
    for (uint32_t tile = warp(); tile < A::kRowTiles; tile += kAttendWarps) {
      MergedTile total;
      total.clear();
      for (uint32_t first = 0; first < num_groups; first += kFewGroups) {
        const uint32_t left = num_groups - first;
        float sums[kFewGroups][Fragment::kD] = {};
        float ends[kFewGroups][kEnds] = {};
        load_sums(first, tile, sums);
        TETRAD_UNROLL
        for (uint32_t g = 0; g < kFewGroups; ++g) {
          if (g < left)
            load_fresh_floats(ends[g], partials + (first + g) * kPartial + A::ends_at());
        }
        total.take(sums, ends, left);
      }
      store(total, tile);
    }
  }

  /// As merge_few(), but what the groups are multiplied with is computed once for all tiles.
  TETRAD_DEVICE void merge_many() const {
    // In 128 registers; gfx12 would run out of them.
    constexpr uint32_t kAtOnce = (Fragment::kTokens == 8 ? 4 : 2) * kFewGroups;
    static_assert(A::kRowTiles <= kAttendWarps);
    float* ends = shared.splits;  // [num_groups][kTokens]: factor and denominator
    const uint32_t tile = warp() < A::kRowTiles ? warp() : 0;
    float sums[kAtOnce][Fragment::kD] = {};
    load_sums(0, tile, sums);
    gather_factors(ends);
    if (warp() >= A::kRowTiles) return;
    MergedTile total;
    total.clear();
    for (uint32_t first = 0; first < num_groups; first += kAtOnce) {
      if (first > 0) load_sums(first, tile, sums);
      TETRAD_UNROLL
      for (uint32_t g = 0; g < kAtOnce; ++g) {
        if (first + g >= num_groups) continue;
        float theirs[kEnds];
        A::get_ends(ends + ((first + g) * kTokens + Fragment::d_token(lane(), 0)) * 2, theirs);
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; ++i) {
          const uint32_t t = i % Fragment::kTokensOfLane;
          total.sums[i] = fused_multiply_add(sums[g][i], theirs[2 * t], total.sums[i]);
        }
        TETRAD_UNROLL
        for (uint32_t t = 0; t < Fragment::kTokensOfLane; ++t)
          total.denominator[t] =
              fused_multiply_add(theirs[2 * t + 1], theirs[2 * t], total.denominator[t]);
      }
    }
    store(total, tile);
  }

  /// The groups' ends into shared memory, the maxima as the factors that take a group to the
  /// largest of them. By all threads, each for one column.
  TETRAD_DEVICE void gather_factors(float* ends) const {
    constexpr uint32_t kGroupsAtOnce = kThreads / kTokens;
    constexpr uint32_t kLoads = 4;
    const uint32_t column = thread_index() % kTokens;
    const uint32_t group = thread_index() / kTokens;
    const float* theirs = partials + A::kRowTiles * 32 * Fragment::kD + column * 2;
    float largest = -1e9f;
    for (uint32_t first = group; first < num_groups; first += kLoads * kGroupsAtOnce) {
      float both[kLoads][2];
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kLoads; ++i) {
        const uint32_t g = first + i * kGroupsAtOnce;
        if (g < num_groups) load_fresh_floats(both[i], theirs + g * kPartial);
      }
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kLoads; ++i) {
        const uint32_t g = first + i * kGroupsAtOnce;
        if (g >= num_groups) continue;
        ends[(g * kTokens + column) * 2] = both[i][0];
        ends[(g * kTokens + column) * 2 + 1] = both[i][1];
        largest = larger(largest, both[i][0]);
      }
    }
    TETRAD_UNROLL
    for (uint32_t step = kTokens; step < 32; step *= 2)
      largest = larger(largest, shuffle_xor(largest, step));
    float* of_warps = shared.values;
    if (lane() < kTokens) of_warps[warp() * kTokens + lane()] = largest;
    sync_block();
    for (uint32_t w = 0; w < kAttendWarps; ++w)
      largest = larger(largest, of_warps[w * kTokens + column]);
    for (uint32_t g = group; g < num_groups; g += kGroupsAtOnce)
      ends[(g * kTokens + column) * 2] = exact_power(ends[(g * kTokens + column) * 2] - largest);
    sync_block();
  }
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
