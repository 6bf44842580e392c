#pragma once

// Columns of prefill's attention as rows of A, where the machine multiplies by four warps together
// (warpgroup.h): S = Q K^T, and P, which is what S becomes in the same registers, is the A of O = P
// V. Keys and values are B, in shared memory as multiply_staged() reads it: of keys each is a row
// of its dimensions, of values each dimension is a row of the split's keys.
//
// The sums are those of attention_tile.h in the same order, so the bits are the same: dimensions
// stand in the same steps of 16, keys in the same blocks.
//
// What a split of 64 keys costs an H200's multiprocessor for the 64 columns of four warps, of 128
// dimensions, in cycles: products 256 and 256. Shared memory 128 and 128 for what they read, 128
// for converted keys and values, once for both groups of four warps. Exponentials 256, and some 370
// instructions a warp, of which each quarter issues one a cycle. So a block's two groups could
// multiply all the time if everything else went on beside it.

#include "kernels/gpu/prefill_feed.h"
#include "kernels/gpu/prefill_sequence.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

#if TETRAD_HAS_WARPGROUPS

/// Of four warps' 64 columns a warp's 16: two of them are a lane's, its rows.
template <uint32_t kHeadDim>
struct PrefillRows {
  using A = Attention<kHeadDim>;
  using Shape = PrefillRowsShape;
  using Memory = PrefillRowsMemory<kHeadDim>;
  static constexpr uint32_t kRows = 2;
  static constexpr uint32_t kKeyTiles = kSplitKeys / 8;
  static constexpr uint32_t kDimTiles = kHeadDim / 8;
  static_assert(Fragment::kD == 2 * kRows);  // register i is of row i / 2, column i % 2
  const PrefillSequence& sequence;
  uint32_t first;       // of the warp's columns
  int32_t seen_by_all;  // keys
  uint32_t queries[A::kSteps][Fragment::kA];
  float scores[2][kKeyTiles][Fragment::kD];  // of even steps and of odd ones
  uint32_t weights[kSplitBlocks][Fragment::kA];
  float products[kDimTiles][Fragment::kD];  // of a split's weights and values
  // Of the group; but the largest is that of all keys so far. It is an integer, and what is
  // multiplied with powers of two for it changes no bits: only what is below 2^-126 of the largest
  // weight is zero where decode kept it until groups met.
  float largest[kRows];
  float denominator[kRows];
  float sums[kDimTiles][Fragment::kD];
  // What its merging multiplies the group and the split with.
  float of_group[kRows];
  float of_split[kRows];
  // Of all groups before.
  Words4* totals;  // [kDimTiles][threads]
  float total_largest[kRows];
  float total_denominator[kRows];

  TETRAD_DEVICE PrefillRows(const PrefillSequence& all, uint32_t first_column) : sequence(all) {
    first = first_column + warp() * 16;
    totals = reinterpret_cast<Words4*>(Memory::totals()) + thread_index();
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row) {
      typename A::Queries of_row;
      of_row.load(sequence.query<kHeadDim>(column_of(row)));
      TETRAD_UNROLL
      for (uint32_t step = 0; step < A::kSteps; ++step) {
        TETRAD_UNROLL
        for (uint32_t j = 0; j < Fragment::kB; ++j)
          queries[step][Fragment::a_register(row, j)] = of_row.b[step][j];
      }
    }
    seen_by_all =
        static_cast<int32_t>(same_in_warp(sequence.context + first / sequence.args.group + 1));
    clear_group();
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row) {
      total_largest[row] = largest[row] = -1e9f;
      total_denominator[row] = 0;
    }
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kDimTiles; ++tile)
      put_total(tile, sums[tile]);
  }

  /// All splits, also those that no column of the warp sees: what is masked adds nothing, and
  /// products of four warps that stand behind a condition wait for each other.
  TETRAD_DEVICE void attend(uint32_t num_splits) {
    using Barriers = PrefillBarriers;
    TETRAD_NO_UNROLL
    for (uint32_t split = 0; split < num_splits; ++split) {
      Barriers::wait_until_full(Barriers::kKeysFull, split);
      start_keys(Memory::keys(split));
      wait_for_sums(scores);
      Barriers::say_empty(Barriers::kKeysEmpty, split, num_splits);
      float from[kRows];
      find_largest(split, from);
      Barriers::wait_until_full(Barriers::kValuesFull, split);
      weigh_values(Memory::values(split), from);
      scale_group();
      wait_for_sums(products);
      Barriers::say_empty(Barriers::kValuesEmpty, split, num_splits);
      add_products();
      if ((split + 1) % kAttendWarps == 0 || split + 1 == num_splits) end_group();
    }
  }

  TETRAD_DEVICE void start_keys(const char* keys) {
    begin_products();
    TETRAD_UNROLL
    for (uint32_t step = 0; step < A::kSteps; ++step) {
      const char* stage = keys + step / 4 * (kSplitKeys * 128);
      if (step < 2) {
        set_staged(scores[step], queries[step], stage, step % 4);
      } else {
        multiply_staged(scores[step % 2], queries[step], stage, step % 4);
      }
    }
    end_products();
  }

  /// Of a split's scores: what is subtracted from a column's before they are exponents, and what
  /// the split's merging multiplies with.
  TETRAD_DEVICE void find_largest(uint32_t split, float (&from)[kRows]) {
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kKeyTiles; ++tile) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        scores[0][tile][i] += scores[1][tile][i];
    }
    if (static_cast<int32_t>((split + 1) * kSplitKeys) > seen_by_all) mask(split);
    float of_split_keys[kRows];
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row) {
      // Chains of their own.
      float parts[4];
      TETRAD_UNROLL
      for (uint32_t part = 0; part < 4; ++part) {
        const float(&own)[Fragment::kD] = scores[0][2 * part];
        const float(&next)[Fragment::kD] = scores[0][2 * part + 1];
        parts[part] = larger(larger(own[2 * row], own[2 * row + 1]),
                             larger(next[2 * row], next[2 * row + 1]));
      }
      of_split_keys[row] = larger(larger(parts[0], parts[1]), larger(parts[2], parts[3]));
    }
    TETRAD_UNROLL
    for (uint32_t step = 1; step < 4; step *= 2) {
      TETRAD_UNROLL
      for (float& of_row : of_split_keys)
        of_row = larger(of_row, shuffle_xor(of_row, step));
    }
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row) {
      const float of_row = round_up(of_split_keys[row]);
      // Where nothing is visible all weights are 0.
      from[row] = of_row <= -1e9f ? 0.0f : of_row;
      merge_factors(largest[row], of_row, of_group[row], of_split[row]);
    }
  }

  /// The weights of the scores, as A, times the values: products with a block's are on their way
  /// while the next one's weights are computed.
  TETRAD_DEVICE void weigh_values(const char* values, const float (&from)[kRows]) {
    TETRAD_UNROLL
    for (uint32_t block = 0; block < kSplitBlocks; ++block) {
      TETRAD_UNROLL
      for (uint32_t half = 0; half < 2; ++half) {
        const float(&of_keys)[Fragment::kD] = scores[0][2 * block + half];
        TETRAD_UNROLL
        for (uint32_t row = 0; row < kRows; ++row)
          weights[block][Fragment::a_register(row, half)] =
              small_floats_to_halves(power_of_two_for_half(of_keys[2 * row] - from[row]),
                                     power_of_two_for_half(of_keys[2 * row + 1] - from[row]));
      }
      begin_products();
      if (block == 0) {
        set_staged(products, weights[block], values, block);
      } else {
        multiply_staged(products, weights[block], values, block);
      }
    }
    end_products();
  }

  /// The split's products into the group.
  TETRAD_DEVICE void add_products() {
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kDimTiles; ++tile) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        sums[tile][i] = fused_multiply_add(products[tile][i], of_split[i / 2], sums[tile][i]);
    }
  }

  /// The group, which is at its end, into the total.
  TETRAD_DEVICE void end_group() {
    float of_total[kRows];
    float of_other[kRows];
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row) {
      merge_factors(total_largest[row], largest[row], of_total[row], of_other[row]);
      total_denominator[row] = fused_multiply_add(denominator[row], of_other[row],
                                                  total_denominator[row] * of_total[row]);
    }
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kDimTiles; ++tile) {
      float total[Fragment::kD];
      get_total(tile, total);
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        total[i] = fused_multiply_add(sums[tile][i], of_other[i / 2], total[i] * of_total[i / 2]);
      put_total(tile, total);
    }
    clear_group();
  }

  TETRAD_DEVICE void store() const {
    constexpr uint32_t kDims = SplitFeeder<kHeadDim>::kDimsOfLane;
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row) {
      const uint32_t column = column_of(row);
      if (column >= sequence.num_columns()) continue;
      uint16_t* to = sequence.attended(column);
      const uint32_t head = sequence.head<kHeadDim>(column);
      // Dimensions of a value that follow each other are rows 32 apart: see SplitFeeder.
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < kDimTiles / kDims; ++tile) {
        float total[kDims][Fragment::kD];
        TETRAD_UNROLL
        for (uint32_t d = 0; d < kDims; ++d)
          get_total(d * (kDimTiles / kDims) + tile, total[d]);
        const auto result = [&](uint32_t d, uint32_t i) TETRAD_INLINE {
          return divide(total[d][2 * row + i], total_denominator[row]) *
                 (sequence.args.v_scale * kE4m3Factor);
        };
        TETRAD_UNROLL
        for (uint32_t i = 0; i < 2; ++i) {
          const uint32_t dim = head + (tile * 8 + lane() % 4 * 2 + i) * kDims;
          TETRAD_UNROLL
          for (uint32_t d = 0; d < kDims; d += 2)
            *reinterpret_cast<uint32_t*>(to + activation_offset<Fragment>(dim + d)) =
                floats_to_halves(result(d, i), result(d + 1, i));
        }
      }
    }
  }

 private:
  TETRAD_DEVICE uint32_t column_of(uint32_t row) const {
    return first + computed_here(lane()) / 4 + row * 8;
  }
  TETRAD_DEVICE void put_total(uint32_t tile, const float (&total)[Fragment::kD]) {
    totals[tile * (Shape::kMultiplyThreads)] = __builtin_bit_cast(Words4, total);
  }
  TETRAD_DEVICE void get_total(uint32_t tile, float (&total)[Fragment::kD]) const {
    const Words4 words = totals[tile * (Shape::kMultiplyThreads)];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i)
      total[i] = __builtin_bit_cast(float, words.word[i]);
  }
  TETRAD_DEVICE void clear_group() {
    TETRAD_UNROLL
    for (float& of_row : denominator)
      of_row = 0;
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kDimTiles; ++tile) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        sums[tile][i] = 0;
    }
  }

  /// Scores of keys that a column does not see become nothing.
  TETRAD_DEVICE void mask(uint32_t split) {
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row) {
      const auto seen =
          static_cast<int32_t>(sequence.context + column_of(row) / sequence.args.group + 1);
      const int32_t limit = seen - static_cast<int32_t>(split * kSplitKeys) -
                            static_cast<int32_t>(computed_here(lane()) % 4 * 2);
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < kKeyTiles; ++tile) {
        TETRAD_UNROLL
        for (uint32_t i = 0; i < 2; ++i) {
          if (static_cast<int32_t>(tile * 8 + i) >= limit) scores[0][tile][2 * row + i] = -1e9f;
        }
      }
    }
  }

  /// The group multiplied with its factors, most of which are 1 and change nothing, and the split's
  /// weights added up.
  TETRAD_DEVICE void scale_group() {
    if (of_group[0] != 1.0f || of_group[1] != 1.0f) {
      TETRAD_UNROLL
      for (uint32_t row = 0; row < kRows; ++row)
        denominator[row] *= of_group[row];
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < kDimTiles; ++tile) {
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; ++i)
          sums[tile][i] *= of_group[i / 2];
      }
    }
    // A product with ones adds up those of all lanes.
    const uint32_t ones[Fragment::kB] = {0x3C003C00u, 0x3C003C00u};
    float of_weights[Fragment::kD] = {};
    TETRAD_UNROLL
    for (const auto& of_block : weights)
      Fragment::multiply_add(of_weights, of_block, ones);
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row)
      denominator[row] = fused_multiply_add(of_weights[2 * row], of_split[row], denominator[row]);
  }
};

template <uint32_t kHeadDim>
TETRAD_DEVICE void attend_prefill_rows(const AttentionArgs& args) {
  using Shape = PrefillRowsShape;
  wait_for_launches_before();
  let_next_launch_begin();
  const PrefillItem item = args.items[block_y()];
  const auto index = static_cast<uint32_t>(item.sequence);
  const auto first_column = static_cast<uint32_t>(item.first_column);
  const PrefillSequence sequence(args, index);
  const uint32_t num_keys = sequence.keys_of(first_column + Shape::kColumns);
  const uint32_t num_splits = tiles_for(num_keys, kSplitKeys);
  if (warp() >= Shape::kMultiplyThreads / 32) {
    give_registers_back<72>();
    SplitFeeder<kHeadDim>(args, index, num_keys)
        .feed(num_splits, sequence.context + sequence.query_len);
  } else {
    take_registers<216>();
    PrefillRows<kHeadDim> rows(sequence, first_column);
    rows.attend(num_splits);
    rows.store();
  }
}

TETRAD_LONE_KERNEL(attend_prefill_rows_64, AttentionArgs, 384) {
  attend_prefill_rows<64>(args);
}
TETRAD_LONE_KERNEL(attend_prefill_rows_128, AttentionArgs, 384) {
  attend_prefill_rows<128>(args);
}
static_assert(PrefillRowsShape::kThreads == 384);

#endif

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
