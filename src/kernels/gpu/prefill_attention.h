#pragma once

// Prefill's launch of attention over the paged FP8 cache (attention_tile.h says how it is
// computed), where prefill_rows.h has no code: on gfx12 and on NVIDIA's cards but H100 and H200. A
// block takes some columns of a sequence and one KV head through all the keys that
// they see, and merges splits and groups as it goes.
//
// Converting FP8 to halves costs as many instructions as the softmax of a few columns, so it is
// done once for all columns of the block: its warps convert a split's keys and values together,
// each a part of a block of 16, into shared memory, as the registers of A that every warp then
// loads with 16 bytes a lane.
//
// A split takes a warp two steps: products with its keys and the softmax, then products with its
// values; a barrier parts the steps. Half of the warps are a step behind the others, so that of the
// two warps of a quarter of the multiprocessor one has products while the other softens. Keys and
// values have two buffers each. Warp group `late` (0 or 1) in its step with split s
//
//   keys     reads keys s,    converts its part of values s + late,   asks for keys s + 1 + late
//   values   reads values s,  converts keys s + 1 + late,             asks for values s + 1 + late
//
// at steps 2 s + late and 2 s + 1 + late. So keys s are read in steps 2 s and 2 s + 1 and replaced
// by keys s + 2 in steps 2 s + 2 and 2 s + 3 at the earliest; values s are read in steps 2 s + 1
// and 2 s + 2 and replaced in steps 2 s + 3 and 2 s + 4. Each is converted a step before the first
// warps want it. gfx12 has 64 KiB of shared memory for a block: there one buffer each has to do,
// and no warp is late.
//
// What the choices cost on an H200, which had it before. For 16 keys and 8 columns of 128
// dimensions there are 16 multiply_adds, about 25 cycles of a multiprocessor (gemm_block.h); shared
// memory moves 128 bytes, a wavefront, a cycle, and each quarter issues one instruction a cycle:
//
//   A's registers   64 wavefronts a warp: 21 with 3 tiles of columns, 32 with 2
//   queries          4 (loaded once a split: they would take 48 registers)
//   conversion       3, and 11 of the 105 instructions or so
//   totals           2 (in shared memory, read and written once in a group of 512 keys)
//   maxima           2 (shuffles, once in a split)
//
// A group's sums stay in registers, since each split adds to them. Two warps a quarter, which is
// what 255 registers a thread leave, do not cover all of each other's waits: with all warps in step
// and two tiles a warp, instructions were issued in a third of the cycles.

#include "kernels/gpu/prefill_sequence.h"
#include "kernels/gpu/prefill_shared.h"

namespace tetrad::gpu {

namespace TETRAD_MACHINE {

/// The columns of a warp: kTiles tiles, kWarps tiles apart, so that few columns are many warps'.
template <uint32_t kHeadDim, uint32_t kTiles>
struct PrefillColumns {
  using A = Attention<kHeadDim>;
  using Copier = SplitCopier<kHeadDim>;
  static constexpr uint32_t kTokens = Fragment::kTokensOfLane;
  uint32_t first;  // of tile 0
  uint32_t num_splits;
  int32_t seen_by_all;  // keys
  typename A::Queries queries[Prefill::kSharedQueries ? 1 : kTiles];
  Words4* shared_queries;  // [kTiles][kSteps / 2][32 lanes] with the B of two steps, or not there
  typename A::State group[kTiles];
  float* totals;  // [kTiles] of sums, as Attention::put leaves them
  /// Maxima and denominators of the totals: in registers where shared memory is full.
  float ends[kTiles][Prefill::kSharedQueries ? 1 : 2 * kTokens];
  float* shared_ends;  // [kTiles][2 * kTokens][32 lanes], or not there
  // Of a split: its weights, and what its merging multiplies the group and the split with.
  uint32_t b[kTiles][kSplitBlocks][Fragment::kB];
  float of_group[kTiles][kTokens];
  float of_split[kTiles][kTokens];

  TETRAD_DEVICE static uint32_t tile_at(uint32_t n) {
    return (n * Prefill::kWarps + warp()) * Fragment::kTokens;
  }
  TETRAD_DEVICE float* total(uint32_t n) const {
    return totals + n * (Fragment::kTokens * kHeadDim);
  }

  TETRAD_DEVICE float end(uint32_t n, uint32_t i) const {
    if constexpr (Prefill::kSharedQueries) return shared_ends[(n * 2 * kTokens + i) * 32 + lane()];
    return ends[n][Prefill::kSharedQueries ? 0 : i];
  }
  TETRAD_DEVICE void set_end(uint32_t n, uint32_t i, float value) {
    if constexpr (Prefill::kSharedQueries) {
      shared_ends[(n * 2 * kTokens + i) * 32 + lane()] = value;
    } else {
      ends[n][i] = value;
    }
  }
  TETRAD_DEVICE void load_queries(uint32_t n, const uint16_t* head) {
    if constexpr (Prefill::kSharedQueries) {
      queries[0].load(head);
      TETRAD_UNROLL
      for (uint32_t step = 0; step < A::kSteps; step += 2)
        shared_queries[(n * A::kSteps + step) / 2 * 32 + lane()] = {
            {queries[0].b[step][0], queries[0].b[step][1], queries[0].b[step + 1][0],
             queries[0].b[step + 1][1]}};
    } else {
      queries[n].load(head);
    }
  }
  TETRAD_DEVICE void begin() {
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      group[n].clear();
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < A::kRowTiles; ++tile)
        A::put(total(n), tile, group[n].sums[tile]);
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kTokens; ++t) {
        set_end(n, 2 * t, group[n].largest[t]);
        set_end(n, 2 * t + 1, 0);
      }
    }
  }

  /// Products with a split's keys.
  TETRAD_DEVICE void products_with_keys(const Words4* keys,
                                        float (&s)[kTiles][kSplitBlocks][Fragment::kD]) const {
    Words4 two_steps[kTiles];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kSplitBlocks; ++i) {
      A::scores([&](uint32_t step, uint32_t(&a)[Fragment::kA])
                    TETRAD_INLINE { Copier::load_a(keys, i, step, a); },
                [&](uint32_t n, uint32_t step, uint32_t(&of_step)[Fragment::kB]) TETRAD_INLINE {
                  if constexpr (Prefill::kSharedQueries) {
                    if (step % 2 == 0)
                      two_steps[n] = shared_queries[(n * A::kSteps + step) / 2 * 32 + lane()];
                    TETRAD_UNROLL
                    for (uint32_t j = 0; j < Fragment::kB; ++j)
                      of_step[j] = two_steps[n].word[step % 2 * Fragment::kB + j];
                  } else {
                    queries[n].as_b(step, of_step);
                  }
                },
                i, s);
    }
  }

  /// A split's weights, and what its merging multiplies with.
  TETRAD_DEVICE void weigh(const AttentionArgs& args, uint32_t context, uint32_t split,
                           const Words4* keys) {
    float s[kTiles][kSplitBlocks][Fragment::kD];
    products_with_keys(keys, s);
    if (static_cast<int32_t>((split + 1) * kSplitKeys) > seen_by_all) {
      const uint32_t mine = computed_here(first);
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kTiles; ++n) {
        int32_t limit[kTokens];
        TETRAD_UNROLL
        for (uint32_t t = 0; t < kTokens; ++t)
          limit[t] = static_cast<int32_t>(
                         context + (mine + tile_at(n) - tile_at(0) + Fragment::d_token(lane(), t)) /
                                       args.group) +
                     1 - static_cast<int32_t>(split * kSplitKeys);
        TETRAD_UNROLL
        for (uint32_t i = 0; i < kSplitBlocks; ++i) {
          A::mask(s[n][i], limit, computed_here(lane()));
          TETRAD_UNROLL
          for (int32_t& of_token : limit)
            of_token -= static_cast<int32_t>(kKvBlock);
        }
      }
    }
    float largest[kTiles][kTokens];
    A::soften(s, largest, b);
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kTokens; ++t)
        merge_factors(group[n].largest[t], largest[n][t], of_group[n][t], of_split[n][t]);
    }
  }

  /// The group multiplied with its factors. Most are 1, which changes nothing.
  TETRAD_DEVICE void scale_group() {
    bool changes = false;
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kTokens; ++t)
        changes = changes || of_group[n][t] != 1.0f;
    }
    if (!changes) return;
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kTokens; ++t)
        group[n].denominator[t] *= of_group[n][t];
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < A::kRowTiles; ++tile) {
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; ++i)
          group[n].sums[tile][i] *= of_group[n][i % kTokens];
      }
    }
  }

  /// Products with a split's values, into the group.
  TETRAD_DEVICE void add_values(const Words4* values) {
    scale_group();
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      float denominator[kTokens];
      A::sum_weights(b[n], denominator);
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kTokens; ++t)
        group[n].denominator[t] =
            fused_multiply_add(denominator[t], of_split[n][t], group[n].denominator[t]);
    }
    constexpr uint32_t kTogether = 2;  // tiles of dimensions: chains of their own
    TETRAD_UNROLL
    for (uint32_t first_tile = 0; first_tile < A::kRowTiles; first_tile += kTogether) {
      float sums[kTogether][kTiles][Fragment::kD];
      TETRAD_UNROLL
      for (auto& of_tile : sums) {
        TETRAD_UNROLL
        for (uint32_t n = 0; n < kTiles; ++n) {
          TETRAD_UNROLL
          for (uint32_t i = 0; i < Fragment::kD; ++i)
            of_tile[n][i] = 0;
        }
      }
      TETRAD_UNROLL
      for (uint32_t block = 0; block < kSplitBlocks; ++block) {
        TETRAD_UNROLL
        for (uint32_t r = 0; r < kTogether; ++r) {
          uint32_t a[Fragment::kA];
          Copier::load_a(values, block, first_tile + r, a);
          TETRAD_UNROLL
          for (uint32_t n = 0; n < kTiles; ++n)
            Fragment::multiply_add(sums[r][n], a, b[n][block]);
        }
      }
      TETRAD_UNROLL
      for (uint32_t r = 0; r < kTogether; ++r) {
        TETRAD_UNROLL
        for (uint32_t n = 0; n < kTiles; ++n) {
          TETRAD_UNROLL
          for (uint32_t i = 0; i < Fragment::kD; ++i)
            group[n].sums[first_tile + r][i] = fused_multiply_add(
                sums[r][n][i], of_split[n][i % kTokens], group[n].sums[first_tile + r][i]);
        }
      }
    }
  }

  /// The group, which is at its end, into the total.
  TETRAD_DEVICE void end_group() {
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      float of_total[kTokens];
      float of_other[kTokens];
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kTokens; ++t) {
        float largest = end(n, 2 * t);
        merge_factors(largest, group[n].largest[t], of_total[t], of_other[t]);
        set_end(n, 2 * t, largest);
        set_end(n, 2 * t + 1,
                fused_multiply_add(group[n].denominator[t], of_other[t],
                                   end(n, 2 * t + 1) * of_total[t]));
      }
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < A::kRowTiles; ++tile) {
        float sums[Fragment::kD];
        A::get(total(n), tile, sums);
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; ++i)
          sums[i] = fused_multiply_add(group[n].sums[tile][i], of_other[i % kTokens],
                                       sums[i] * of_total[i % kTokens]);
        A::put(total(n), tile, sums);
      }
      group[n].clear();
    }
  }

  TETRAD_DEVICE void store(const PrefillSequence& sequence) const {
    constexpr uint32_t kPieces = Fragment::kD / kTokens / A::kRowsOfLane;  // of a token's head
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTiles; ++n) {
      float sums[A::kRowTiles][Fragment::kD];
      TETRAD_UNROLL
      for (uint32_t tile = 0; tile < A::kRowTiles; ++tile)
        A::get(total(n), tile, sums[tile]);
      TETRAD_UNROLL
      for (uint32_t t = 0; t < kTokens; ++t) {
        const uint32_t column = first + tile_at(n) - tile_at(0) + Fragment::d_token(lane(), t);
        if (column >= sequence.num_columns()) continue;
        uint16_t* to = sequence.attended(column);
        const uint32_t head = sequence.head<kHeadDim>(column);
        const auto result = [&](uint32_t piece, uint32_t d) TETRAD_INLINE {
          const uint32_t i = (piece * A::kRowsOfLane + d % A::kRowsOfLane) * kTokens + t;
          return divide(sums[d / A::kRowsOfLane][i], end(n, 2 * t + 1)) *
                 (sequence.args.v_scale * kE4m3Factor);
        };
        TETRAD_UNROLL
        for (uint32_t piece = 0; piece < kPieces; ++piece) {
          const uint32_t row = Fragment::d_row(lane(), piece * A::kRowsOfLane * kTokens);
          TETRAD_UNROLL
          for (uint32_t d = 0; d < A::kDimsOfLane; d += 4) {
            const uint32_t four[2] = {floats_to_halves(result(piece, d), result(piece, d + 1)),
                                      floats_to_halves(result(piece, d + 2), result(piece, d + 3))};
            TETRAD_UNROLL
            for (uint32_t i = 0; i < 2; ++i)
              *reinterpret_cast<uint32_t*>(
                  to + activation_offset<Fragment>(head + A::dim_of_row(0, row) + d + 2 * i)) =
                  four[i];
          }
        }
      }
    }
  }
};

template <uint32_t kHeadDim, uint32_t kTiles>
TETRAD_DEVICE void attend_columns(const AttentionArgs& args, uint32_t sequence_index,
                                  uint32_t first_column) {
  const PrefillSequence sequence(args, sequence_index, block_x());
  const uint32_t num_columns = sequence.num_columns();
  const uint32_t context = sequence.context;
  const uint32_t written = context + sequence.query_len;

  const uint32_t num_keys =
      sequence.keys_of(first_column + Prefill::kWarps * kTiles * Fragment::kTokens);
  SplitCopier<kHeadDim> copier{
      .args = args, .sequence = sequence_index, .num_blocks = tiles_for(num_keys, kKvBlock)};
  copier.buffers = reinterpret_cast<Words4*>(shared_memory());
  copier.begin();

  PrefillColumns<kHeadDim, kTiles> columns;
  columns.first = first_column + columns.tile_at(0);
  float* totals = reinterpret_cast<float*>(
      copier.values(0) + Prefill::kBuffers * SplitCopier<kHeadDim>::kBufferPieces);
  columns.totals = totals + warp() * (kTiles * Fragment::kTokens * kHeadDim);
  columns.shared_queries = reinterpret_cast<Words4*>(totals + Prefill::kColumns * kHeadDim) +
                           warp() * (kTiles * Fragment::kTokens * kHeadDim * 2 / 16);
  columns.shared_ends = totals + Prefill::kColumns * kHeadDim * 6 / 4 +
                        warp() * (kTiles * 2 * Fragment::kTokensOfLane * 32);
  TETRAD_UNROLL
  for (uint32_t n = 0; n < kTiles; ++n) {
    const uint32_t mine = first_column + columns.tile_at(n) + Fragment::b_token(lane());
    columns.load_queries(n, sequence.query<kHeadDim>(mine));
  }
  const uint32_t end = first_column + columns.tile_at(kTiles - 1) + Fragment::kTokens;
  columns.num_splits =
      same_in_warp(columns.first < num_columns ? tiles_for(sequence.keys_of(end), kSplitKeys) : 0);
  columns.seen_by_all =
      static_cast<int32_t>(same_in_warp(context + columns.first / args.group + 1));
  columns.begin();
  // Half of the warps are half a split behind the others, so that one has products with the values
  // while another softens: see above for what must be in which buffer when.
  const uint32_t late = Prefill::kBuffers == 2 ? warp() / 4 % 2 : 0;
  copier.store_keys(0);
  copier.load_values(0);
  if (late != 0) {
    copier.store_values(0, written);
    copier.load_next_keys(1);
  }
  const auto with_keys = [&](uint32_t split) TETRAD_INLINE {
    copier.store_values(split + late, written);
    copier.load_next_keys(split + late + 1);
    if (split < columns.num_splits) columns.weigh(args, context, split, copier.keys(split));
  };
  const auto with_values = [&](uint32_t split) TETRAD_INLINE {
    copier.store_keys(split + late + 1);
    copier.load_values(split + late + 1);
    if (split >= columns.num_splits) return;
    columns.add_values(copier.values(split));
    if ((split + 1) % kAttendWarps == 0 || split + 1 == columns.num_splits) columns.end_group();
  };
  const uint32_t num_splits = tiles_for(num_keys, kSplitKeys);
  if constexpr (Prefill::kBuffers == 1) {
    for (uint32_t split = 0; split < num_splits; ++split) {
      sync_block();
      with_keys(split);
      sync_block();
      with_values(split);
    }
  } else {
    for (uint32_t step = 0; step < 2 * num_splits + 1; ++step) {
      sync_block();
      if (step % 2 == late) {
        with_keys((step - late) / 2);
      } else {
        with_values((step + 1 - late) / 2 - 1);  // a late warp's first one is before all splits
      }
    }
  }
  columns.store(sequence);
}

template <uint32_t kHeadDim>
TETRAD_DEVICE void attend_prefill(const AttentionArgs& args) {
  wait_for_launches_before();
  let_next_launch_begin();
  const PrefillItem item = args.items[block_y()];
  const auto sequence = static_cast<uint32_t>(item.sequence);
  const auto first_column = static_cast<uint32_t>(item.first_column);
  if constexpr (Prefill::kTiles > 1) {
    const uint32_t columns =
        static_cast<uint32_t>(args.query_len[sequence]) * args.group - first_column;
    if (columns <= Prefill::kWarps * Fragment::kTokens) {
      attend_columns<kHeadDim, 1>(args, sequence, first_column);
      return;
    }
  }
  attend_columns<kHeadDim, Prefill::kTiles>(args, sequence, first_column);
}

TETRAD_KERNEL(attend_prefill_64, AttentionArgs, Prefill::kWarps * 32) {
  attend_prefill<64>(args);
}
TETRAD_KERNEL(attend_prefill_128, AttentionArgs, Prefill::kWarps * 32) {
  attend_prefill<128>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
