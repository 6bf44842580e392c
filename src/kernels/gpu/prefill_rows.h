#pragma once

// Columns of prefill's attention as rows of A, where the machine multiplies by four warps together
// (warpgroup.h): S = Q K^T, and P, which is what S becomes in the same registers, is the A of O = P
// V. Keys and values are B, in shared memory as multiply_staged() reads it: of keys each is a row
// of its dimensions, of values each dimension is a row of the split's keys.
//
// The sums are those of attention_tile.h in the same order, so the bits are the same: dimensions
// stand in the same steps of 16, keys in the same blocks.
//
// What two splits of 64 keys cost an H200's multiprocessor for the 64 columns of four warps, of 128
// dimensions, in cycles: products 512 and 512, and 26 more for every instruction of wgmma where
// only one group of four warps has some on their way. That is why keys are taken two splits at a
// time, 128 in an instruction, and sums of weights come with the values'. Shared memory 256 and 272
// for what products read, 256 for converted keys and values, once for both groups. Exponentials
// 512, and some 720 instructions a warp, of which each quarter issues one a cycle.
//
// Each group of four warps does one after the other: what it could do while its own products are
// computed the assembler moves behind them, and where it is kept from that it takes longer, since
// the other group has the products' time.

#include "kernels/gpu/prefill_feed.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

#if TETRAD_HAS_WARPGROUPS

/// Of four warps' 64 columns a warp's 16: two of them are a lane's, its rows.
template <uint32_t kHeadDim>
struct PrefillRows {
  using A = Attention<kHeadDim>;
  using Shape = PrefillRowsShape;
  using Memory = PrefillRowsMemory<kHeadDim>;
  using Place = typename Memory::Place;
  static constexpr uint32_t kRows = 2;
  static constexpr uint32_t kKeyTiles = kSplitKeys / 8;
  static constexpr uint32_t kDimTiles = kHeadDim / 8;
  static_assert(Fragment::kD == 2 * kRows);  // register i is of row i / 2, column i % 2
  static_assert(kAttendWarps % 2 == 0);      // no pair of splits is of two groups
  /// Of a split and each row: what is subtracted from a score before it is an exponent, and what
  /// merging multiplies the group and the split with.
  struct Factors {
    float from[kRows];
    float of_group[kRows];
    float of_split[kRows];
  };
  const PrefillSequence& sequence;
  uint32_t first;       // of the warp's columns
  int32_t seen_by_all;  // keys
  uint32_t queries[A::kSteps][Fragment::kA];
  float scores[2 * kKeyTiles][Fragment::kD];  // of two splits
  uint32_t weights[2][kSplitBlocks][Fragment::kA];
  float products[kDimTiles + 1][Fragment::kD];  // of a split's weights and values, and ones
  // Of the group; but the largest is that of all keys so far. It is an integer, and what is
  // multiplied with powers of two for it changes no bits: only what is below 2^-126 of the largest
  // weight is zero where decode kept it until groups met.
  float largest[kRows];
  float denominator[kRows];
  float sums[kDimTiles][Fragment::kD];
  // Of all groups before.
  Words4* totals;  // [kDimTiles][threads]
  float total_largest[kRows];
  float total_denominator[kRows];

  TETRAD_DEVICE explicit PrefillRows(const PrefillWork& work) : sequence(work.sequence) {
    first = work.first_column + warp() * 16;
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

  /// All splits, also those that no column of the warp sees, or that are not there (the second of
  /// the last pair): what is masked adds nothing, and products of four warps that stand behind a
  /// condition wait for each other.
  TETRAD_DEVICE void attend(uint32_t num_splits, Place& keys, Place& values) {
    TETRAD_NO_UNROLL
    for (uint32_t split = 0; split < num_splits; split += 2) {
      Memory::key_ring().wait_until_full(keys);
      start_keys(Memory::keys(keys.index));
      wait_for_sums(scores);
      Memory::key_ring().say_empty(keys.index);
      keys.next();
      Factors factors[2];
      find_largest<0>(split, factors[0]);
      find_largest<1>(split + 1, factors[1]);
      soften<0>(factors[0]);
      soften<1>(factors[1]);
      TETRAD_UNROLL
      for (uint32_t i = 0; i < 2; ++i) {
        Memory::value_ring().wait_until_full(values);
        start_values(weights[i], Memory::values(values.index));
        scale_group(factors[i]);
        wait_for_sums(products);
        Memory::value_ring().say_empty(values.index);
        values.next();
        add_products(factors[i]);
      }
      if ((split + 2) % kAttendWarps == 0 || split + 2 >= num_splits) end_group();
    }
  }

  TETRAD_DEVICE void start_keys(const char* keys) {
    begin_products();
    TETRAD_UNROLL
    for (uint32_t step = 0; step < A::kSteps; ++step) {
      const char* stage = keys + step / 4 * (Shape::kPairKeys * Shape::kStagedRow);
      if (step == 0) {
        set_staged(scores, queries[step], stage, step % 4);
      } else {
        multiply_staged(scores, queries[step], stage, step % 4);
      }
    }
    end_products();
  }

  /// Of the kWhich-th split of a pair.
  template <uint32_t kWhich>
  TETRAD_DEVICE void find_largest(uint32_t split, Factors& factors) {
    constexpr uint32_t kFirst = kWhich * kKeyTiles;
    if (static_cast<int32_t>((split + 1) * kSplitKeys) > seen_by_all) mask<kFirst>(split);
    float of_split_keys[kRows];
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row) {
      const auto of_tile = [&](uint32_t tile) TETRAD_INLINE {
        return larger(scores[kFirst + tile][2 * row], scores[kFirst + tile][2 * row + 1]);
      };
      // Chains of their own.
      float parts[4];
      TETRAD_UNROLL
      for (uint32_t part = 0; part < 4; ++part)
        parts[part] = larger(of_tile(2 * part), of_tile(2 * part + 1));
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
      factors.from[row] = of_row <= -1e9f ? 0.0f : of_row;
      merge_factors(largest[row], of_row, factors.of_group[row], factors.of_split[row]);
    }
  }

  /// The weights of a split's scores, as A.
  template <uint32_t kWhich>
  TETRAD_DEVICE void soften(const Factors& factors) {
    TETRAD_UNROLL
    for (uint32_t block = 0; block < kSplitBlocks; ++block) {
      TETRAD_UNROLL
      for (uint32_t half = 0; half < 2; ++half) {
        const float(&of_keys)[Fragment::kD] = scores[kWhich * kKeyTiles + 2 * block + half];
        TETRAD_UNROLL
        for (uint32_t row = 0; row < kRows; ++row)
          weights[kWhich][block][Fragment::a_register(row, half)] = small_floats_to_halves(
              power_of_two_for_half(of_keys[2 * row] - factors.from[row]),
              power_of_two_for_half(of_keys[2 * row + 1] - factors.from[row]));
      }
    }
  }

  TETRAD_DEVICE void start_values(const uint32_t (&of_split)[kSplitBlocks][Fragment::kA],
                                  const char* values) {
    begin_products();
    TETRAD_UNROLL
    for (uint32_t block = 0; block < kSplitBlocks; ++block) {
      if (block == 0) {
        set_staged(products, of_split[block], values, block);
      } else {
        multiply_staged(products, of_split[block], values, block);
      }
    }
    end_products();
  }

  /// The split's products into the group.
  TETRAD_DEVICE void add_products(const Factors& factors) {
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kDimTiles; ++tile) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        sums[tile][i] =
            fused_multiply_add(products[tile][i], factors.of_split[i / 2], sums[tile][i]);
    }
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row)
      denominator[row] =
          fused_multiply_add(products[kDimTiles][2 * row], factors.of_split[row], denominator[row]);
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
    // Loads of several, of which none waits for the store of another.
    constexpr uint32_t kAtOnce = 4;
    TETRAD_UNROLL
    for (uint32_t first_tile = 0; first_tile < kDimTiles; first_tile += kAtOnce) {
      float total[kAtOnce][Fragment::kD];
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kAtOnce; ++t)
        get_total(first_tile + t, total[t]);
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kAtOnce; ++t) {
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; ++i)
          total[t][i] = fused_multiply_add(sums[first_tile + t][i], of_other[i / 2],
                                           total[t][i] * of_total[i / 2]);
        put_total(first_tile + t, total[t]);
      }
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
  template <uint32_t kFirst>
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
          if (static_cast<int32_t>(tile * 8 + i) >= limit)
            scores[kFirst + tile][2 * row + i] = -1e9f;
        }
      }
    }
  }

  /// The group multiplied with its factors, most of which are 1 and change nothing.
  TETRAD_DEVICE void scale_group(const Factors& factors) {
    if (factors.of_group[0] == 1.0f && factors.of_group[1] == 1.0f) return;
    TETRAD_UNROLL
    for (uint32_t row = 0; row < kRows; ++row)
      denominator[row] *= factors.of_group[row];
    TETRAD_UNROLL
    for (uint32_t tile = 0; tile < kDimTiles; ++tile) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        sums[tile][i] *= factors.of_group[i / 2];
    }
  }
};

/// do(work) for each of the block's pieces of work: they are dealt out there and back again, what
/// takes longest first, so that all blocks have about as much to do.
template <class Do>
TETRAD_DEVICE void for_each_prefill_work(const AttentionArgs& args, const Do& what) {
  const uint32_t count = args.num_items * args.num_kv_heads;
  uint32_t round = 0;
  TETRAD_NO_UNROLL
  for (uint32_t first = 0; first < count; first += grid_x()) {
    const uint32_t number = first + (round++ % 2 == 0 ? block_x() : grid_x() - 1 - block_x());
    if (number >= count) break;
    what(PrefillWork(args, args.items[number / args.num_kv_heads], number % args.num_kv_heads));
  }
}

template <uint32_t kHeadDim>
TETRAD_DEVICE void attend_prefill_rows(const AttentionArgs& args) {
  using Shape = PrefillRowsShape;
  using Memory = PrefillRowsMemory<kHeadDim>;
  Memory::init();
  wait_for_launches_before();
  let_next_launch_begin();
  sync_block();
  if (warp() >= Shape::kMultiplyWarps) {
    give_registers_back<72>();
    SplitFeeder<kHeadDim> feeder(args);
    for_each_prefill_work(args, [&](const PrefillWork& work) TETRAD_INLINE { feeder.feed(work); });
  } else {
    take_registers<216>();
    typename Memory::Place keys;
    typename Memory::Place values;
    for_each_prefill_work(args, [&](const PrefillWork& work) TETRAD_INLINE {
      PrefillRows<kHeadDim> rows(work);
      rows.attend(work.num_splits(), keys, values);
      rows.store();
    });
  }
}

// Grid: as many blocks as there are multiprocessors, or pieces of work.

TETRAD_LONE_KERNEL(attend_prefill_rows_64, AttentionArgs, 384) {
  attend_prefill_rows<64>(args);
}
TETRAD_LONE_KERNEL(attend_prefill_rows_128, AttentionArgs, 384) {
  attend_prefill_rows<128>(args);
}
static_assert(FedBlock::kThreads == 384);

#endif

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
