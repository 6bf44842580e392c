#pragma once

// What decode's attention has left of sequences with many groups of keys, merged: a launch of its
// own. One block that reads all groups of a head alone takes longer than that: it has one
// multiprocessor's way to the L2 cache.

#include "kernels/gpu/attention_tile.h"

namespace tetrad::gpu {

/// Groups of keys that a block takes at a time.
template <class F>
inline constexpr uint32_t kMergeRound = 256 / F::kD;
inline constexpr uint32_t kMergeThreads = kAttendWarps * 32;

template <class F>
constexpr uint32_t merge_groups_shared_bytes() {
  return (kMergeRound<F> * (32 * F::kD + 2 * F::kTokens) + kAttendWarps * F::kTokens) * 4;
}

namespace TETRAD_MACHINE {

/// A tile of dimensions of one sequence and KV head. Grid: (head_dim / 16, num_kv_heads,
/// sequences), the sequences being those of attend_decode's launch.
template <uint32_t kHeadDim>
struct GroupMerge {
  using A = Attention<kHeadDim>;
  static constexpr uint32_t kRound = kMergeRound<Fragment>;
  static constexpr uint32_t kTokens = Fragment::kTokens;
  static constexpr uint32_t kPartial = partial_floats<Fragment>(kHeadDim);
  static constexpr uint32_t kTileFloats = 32 * Fragment::kD;
  static constexpr uint32_t kLoads = kRound * kTileFloats / 4 / kMergeThreads;
  static constexpr uint32_t kEndLoads = kRound * kTokens / kMergeThreads;
  static_assert(kMergeThreads % kTokens == 0 && kTileFloats <= kMergeThreads);

  const float* partials;
  uint32_t num_groups;
  float* sums;    // [kRound][kTileFloats]
  float* ends;    // [kRound][kTokens][2]: factors and denominators
  float* maxima;  // [kAttendWarps][kTokens]
  uint32_t words[kLoads][4];
  float largest_of[kEndLoads];
  uint32_t denominators[kEndLoads];

  TETRAD_DEVICE GroupMerge(const float* from, uint32_t groups)
      : partials(from), num_groups(groups) {
    sums = reinterpret_cast<float*>(shared_memory());
    ends = sums + kRound * kTileFloats;
    maxima = ends + kRound * kTokens * 2;
  }

  /// Asks for a round's sums and ends; beyond the last group for this one's once more.
  TETRAD_DEVICE void ask(uint32_t first) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kEndLoads; ++i) {
      const Words2 two = *reinterpret_cast<const Words2*>(end_at(first, i));
      largest_of[i] = __builtin_bit_cast(float, two.word[0]);
      denominators[i] = two.word[1];
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i) {
      const uint32_t at = i * kMergeThreads + thread_index();
      const Words4 four =
          *reinterpret_cast<const Words4*>(group_at(first + at / (kTileFloats / 4)) +
                                           block_x() * kTileFloats + at % (kTileFloats / 4) * 4);
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        words[i][j] = four.word[j];
    }
  }
  /// The maximum and the denominator that are the thread's i-th of a round.
  TETRAD_DEVICE const float* end_at(uint32_t first, uint32_t i) const {
    const uint32_t at = i * kMergeThreads + thread_index();
    return group_at(first + at / kTokens) + A::kRowTiles * kTileFloats + at % kTokens * 2;
  }
  TETRAD_DEVICE const float* group_at(uint32_t group) const {
    return partials + uint64_t{group < num_groups ? group : num_groups - 1} * kPartial;
  }
  /// Over all groups, of the thread's column, the same in all threads that have it. The first
  /// round has been asked for.
  TETRAD_DEVICE float largest_of_all() {
    float largest = -1e9f;
    TETRAD_UNROLL
    for (const float theirs : largest_of)
      largest = larger(largest, theirs);
    for (uint32_t first = kRound; first < num_groups; first += kRound) {
      for (uint32_t i = 0; i < kEndLoads; ++i)
        largest = larger(largest, end_at(first, i)[0]);
    }
    TETRAD_UNROLL
    for (uint32_t step = kTokens; step < 32; step *= 2)
      largest = larger(largest, shuffle_xor(largest, step));
    if (lane() < kTokens) maxima[warp() * kTokens + lane()] = largest;
    sync_block();
    for (uint32_t w = 0; w < kAttendWarps; ++w)
      largest = larger(largest, maxima[w * kTokens + thread_index() % kTokens]);
    return largest;
  }
  /// What was asked for, into shared memory, with no weight beyond the last group; a sync_block()
  /// must follow. `largest`: of the thread's column.
  TETRAD_DEVICE void put(uint32_t first, float largest) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kEndLoads; ++i) {
      const bool is_there = first + (i * kMergeThreads + thread_index()) / kTokens < num_groups;
      const float factor = is_there ? exact_power(largest_of[i] - largest) : 0;
      *reinterpret_cast<Words2*>(ends + (i * kMergeThreads + thread_index()) * 2) = {
          {__builtin_bit_cast(uint32_t, factor), denominators[i]}};
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kLoads; ++i)
      *reinterpret_cast<Words4*>(sums + (i * kMergeThreads + thread_index()) * 4) = {
          {words[i][0], words[i][1], words[i][2], words[i][3]}};
  }
};

template <uint32_t kHeadDim>
TETRAD_DEVICE void merge_groups(const MergeGroupsArgs& all) {
  const AttentionArgs& args = all.attention;
  using Merge = GroupMerge<kHeadDim>;
  // The next launch may ask for its weights while attention goes on: what it reads of others before
  // it waits, attention's launch has waited for.
  let_next_launch_begin();
  wait_for_launches_before();
  const auto sequence = static_cast<uint32_t>(args.sequences[block_z()]);
  const uint32_t num_keys = static_cast<uint32_t>(args.context_len[sequence]) + 1;
  const uint32_t num_groups = tiles_for(num_keys, kGroupKeys);
  if (num_groups == 1) return;  // attend_decode has stored it
  Merge merge(args.partial + (uint64_t{block_z()} * args.num_kv_heads + block_y()) *
                                 args.max_groups * Merge::kPartial,
              num_groups);
  merge.ask(0);
  const float largest = merge.largest_of_all();

  // A thread has one number of the tile.
  const uint32_t of_lane = thread_index() / Fragment::kD;
  const uint32_t at = thread_index() % Fragment::kD;
  const bool has_number = thread_index() < Merge::kTileFloats;
  const uint32_t column = has_number ? Fragment::d_token(of_lane, at) : 0;
  // Each load alone would be waited for.
  constexpr uint32_t kAtOnce = 8;
  static_assert(Merge::kRound % kAtOnce == 0);
  float total = 0;
  float denominator = 0;
  for (uint32_t first = 0; first < num_groups; first += Merge::kRound) {
    merge.put(first, largest);
    sync_block();
    if (first + Merge::kRound < num_groups) merge.ask(first + Merge::kRound);
    const uint32_t left = num_groups - first;
    const uint32_t count = left < Merge::kRound ? left : Merge::kRound;
    for (uint32_t g = 0; g < count && has_number; g += kAtOnce) {
      float sums[kAtOnce];
      float ends[kAtOnce][2];
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kAtOnce; ++i) {
        const Words2 end =
            *reinterpret_cast<const Words2*>(merge.ends + ((g + i) * Merge::kTokens + column) * 2);
        ends[i][0] = __builtin_bit_cast(float, end.word[0]);
        ends[i][1] = __builtin_bit_cast(float, end.word[1]);
        sums[i] = merge.sums[(g + i) * Merge::kTileFloats + thread_index()];
      }
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kAtOnce; ++i) {
        total = fused_multiply_add(sums[i], ends[i][0], total);
        denominator = fused_multiply_add(ends[i][1], ends[i][0], denominator);
      }
    }
    sync_block();
  }
  if (!has_number || column >= args.group) return;
  Merge::A::store(args, static_cast<uint64_t>(args.query_start[sequence]),
                  block_y() * args.group + column,
                  Merge::A::dim_of_row(block_x(), Fragment::d_row(of_lane, at)),
                  divide(total, denominator) * (args.v_scale * kE4m3Factor));
}

TETRAD_KERNEL(merge_groups_64, MergeGroupsArgs, 256) {
  merge_groups<64>(args);
}
TETRAD_KERNEL(merge_groups_128, MergeGroupsArgs, 256) {
  merge_groups<128>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
