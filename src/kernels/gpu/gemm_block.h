#pragma once

// Products for many tokens: out[t] = W x[t], bit for bit what decode_product.h computes. A block of
// 8 warps takes 256 rows of W and a tile of tokens. Activations come through shared memory, 64
// columns a stage, several stages ahead; weights go from global memory straight to the registers of
// the warp that needs them, which unpacks them once for all tokens of its own.
//
// What the choices cost on an H200, by counting: an m16n8k16 takes about 1.55 cycles of a
// multiprocessor (some 620 TFLOP/s in all), and shared memory moves 128 bytes, a wavefront, a
// cycle. For 16 columns, 64 rows by 64 tokens a warp, 32 multiply_adds:
//
//   levels by the table   16 wavefronts (4 row tiles x 4 registers)
//   load_b                16 wavefronts (8 token tiles x 256 bytes)
//   stages written         4 wavefronts (128 tokens x 32 bytes, shared by 8 warps)
//   totals                 5 wavefronts (256 for both ways, once in a segment of 48 such steps)
//
// 41 for 32, so 1.3 a multiply_add: less than the 1.55 the matrix unit needs. With 32 rows by 128
// tokens a warp it would be 8 + 32 + 4 + 5 = 1.5. Levels by byte permutes instead (6 for the bytes
// of 4 codes, 2 to widen, 2 subtractions, against 4 instructions and 2 loads) would free 16
// wavefronts for 60 more instructions a warp, each 2 cycles of the integer unit: 136 of the 198
// cycles in which a quarter of the multiprocessor does its 32 multiply_adds. The table it is.

#include "gpu/warpgroup.h"
#include "kernels/gpu/gemm_shared.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

/// What a block computes: rows of kParts equal-sized matrices times the same tokens.
template <uint32_t kParts>
struct GemmWork {
  const char* tiles[kParts] = {};  // the first column tile that is the block's
  uint32_t column_tiles = 0;       // of the block
  uint32_t row_bytes = 0;          // from one tile of rows to the next
  uint32_t row_tiles = 0;          // of a matrix
  uint32_t first_row_tile = 0;     // of the block, in each matrix
  uint32_t num_tokens = 0;         // of the block
  /// x comes from launches for which the block has not waited: it does so when it has asked for its
  /// first weights.
  bool waits_for_x = false;
};

/// What a warp has of a block's rows and its kTokens tokens: some rows of all tokens.
template <class Tile, uint32_t kTokens, GemmSize kSize>
struct WarpTile {
  static constexpr uint32_t kRowTiles = kGemmRowTiles / kGemmWarps;
  static constexpr uint32_t kTokenTiles = kTokens / Fragment::kTokens;
  /// Four warps' products together, where the machine has them.
  static constexpr bool kStaged = kHasWarpgroups && kSize == GemmSize::large;
  /// Column tiles of weights in registers or on their way there; divides kSegmentTiles. Where only
  /// one fits, it is asked for when the one before is unpacked, half a step before it is needed,
  /// and to the L2 cache kPrefetch steps before. gfx12 has totals in registers, too, but of a
  /// segment there are none.
  static constexpr bool kOnlyOneFits = kTokens > 80 || (kTokens == 64 && Fragment::kTokens == 16 &&
                                                        kSize != GemmSize::segment);
  static constexpr uint32_t kAhead = kOnlyOneFits ? 1 : 2;
  static constexpr uint32_t kPrefetch = kOnlyOneFits ? 3 : 0;
};

/// sums += two groups of columns of the warp's row tiles times those of its tokens; with kStaged
/// some time before wait_for_products().
template <uint32_t kPair, bool kStaged, class Tile, uint32_t kRowTiles, uint32_t kTokenTiles>
TETRAD_DEVICE void multiply_pair(const Tile (&tiles)[kRowTiles], const uint32_t* table,
                                 const char* stage,
                                 float (&sums)[kRowTiles][kTokenTiles][Fragment::kD]) {
  uint32_t a[2][kRowTiles][Fragment::kA];
  TETRAD_UNROLL
  for (uint32_t r = 0; r < kRowTiles; ++r) {
    tiles[r].template unpack<2 * kPair>(table, a[0][r]);
    tiles[r].template unpack<2 * kPair + 1>(table, a[1][r]);
  }
  if constexpr (kStaged) {
    begin_products();
    TETRAD_UNROLL
    for (uint32_t g = 0; g < 2; ++g) {
      TETRAD_UNROLL
      for (uint32_t r = 0; r < kRowTiles; ++r)
        multiply_staged(sums[r], a[g][r], stage, 2 * kPair + g);
    }
    end_products();
    return;
  }
  // With two row tiles two token tiles go together: a sum's next multiply_add comes after three
  // others.
  constexpr uint32_t kTogether = kRowTiles < 4 && kTokenTiles % 2 == 0 ? 2 : 1;
  TETRAD_UNROLL
  for (uint32_t first = 0; first < kTokenTiles; first += kTogether) {
    uint32_t b[kTogether][2][Fragment::kB];
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTogether; ++n)
      load_staged_b(stage + (first + n) * Fragment::kTokens * kTileColumns * 2, kPair, b[n]);
    TETRAD_UNROLL
    for (uint32_t g = 0; g < 2; ++g) {
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kTogether; ++n) {
        TETRAD_UNROLL
        for (uint32_t r = 0; r < kRowTiles; ++r)
          Fragment::multiply_add(sums[r][first + n], a[g][r], b[n][g]);
      }
    }
  }
}

/// Asks for all weights of a warp to come into the L2 cache: `rows` as multiply_tokens() has them.
template <class Tile, uint32_t kRowTiles, uint32_t kParts>
TETRAD_DEVICE void prefetch_rows(const GemmWork<kParts>& work, const uint32_t (&rows)[kRowTiles]) {
  const uint32_t bytes = work.column_tiles * Tile::kBytes;
  TETRAD_UNROLL
  for (uint32_t r = 0; r < kRowTiles; ++r) {
    TETRAD_NO_UNROLL
    for (uint32_t at = lane() * 128; at < bytes; at += kWarpSize * 128)
      prefetch_l2(work.tiles[r / (kRowTiles / kParts)] + (rows[r] + at));
  }
}

/// The product of a block that has at most kTokens tokens. `store` gets what each warp has.
template <class Tile, uint32_t kTokens, GemmSize kSize, uint32_t kParts, class Store>
TETRAD_DEVICE void multiply_tokens(const GemmWork<kParts>& work, const StageCopier<kTokens>& copier,
                                   const uint32_t* table, Words4* totals_memory,
                                   const Store& store) {
  using Warp = WarpTile<Tile, kTokens, kSize>;
  using Copier = StageCopier<kTokens>;
  constexpr uint32_t kRowTiles = Warp::kRowTiles;
  constexpr uint32_t kStages = GemmLayout<Fragment>::kStages;
  constexpr uint32_t kAhead = Warp::kAhead;
  static_assert(kSegmentTiles % kAhead == 0);
  // The warp's row tiles: kRowTiles / kParts consecutive ones of each matrix.
  constexpr uint32_t kTilesOfPart = kRowTiles / kParts;
  const uint32_t column_tiles = work.column_tiles;
  const uint32_t first_row_tile = work.first_row_tile + warp() * kTilesOfPart;

  // A row tile beyond the matrix stands for its last one, and is not stored.
  uint32_t rows[kRowTiles];  // bytes from the matrix on, which has less than 4 GiB
  TETRAD_UNROLL
  for (uint32_t r = 0; r < kRowTiles; ++r) {
    const uint32_t wanted = first_row_tile + r % kTilesOfPart;
    const uint32_t row_tile = wanted < work.row_tiles ? wanted : work.row_tiles - 1;
    rows[r] = row_tile * work.row_bytes;
  }
  // This lane's 128 bytes of the warp's tiles of a step.
  constexpr uint32_t kLines = Tile::kBytes / 128;
  static_assert(kRowTiles * kLines <= kWarpSize || Warp::kPrefetch == 0);
  const uint32_t row_of_line = first_row_tile + lane() / kLines % kTilesOfPart;
  const char* of_line = work.tiles[0];
  if constexpr (kParts == 2) of_line = lane() / kLines < kTilesOfPart ? of_line : work.tiles[1];
  const char* line =
      of_line + static_cast<uint64_t>(row_of_line) * work.row_bytes + lane() % kLines * 128;
  const uint32_t prefetch_end =
      lane() < kRowTiles * kLines && row_of_line < work.row_tiles ? column_tiles : 0;

  if constexpr (Warp::kPrefetch != 0) {
    TETRAD_UNROLL
    for (uint32_t i = kAhead; i < Warp::kPrefetch; ++i) {
      if (i < prefetch_end) prefetch_l2(line + i * Tile::kBytes);
    }
  }
  Tile ahead[kAhead][kRowTiles];
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kAhead; ++i) {
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kRowTiles; ++r) {
      if (i < column_tiles)
        ahead[i][r].load(work.tiles[r / kTilesOfPart] + (rows[r] + i * Tile::kBytes));
    }
  }
  // A segment is over before a few steps ahead of its loads would have hidden the memory's latency.
  if constexpr (kSize == GemmSize::segment) prefetch_rows<Tile>(work, rows);
  if (work.waits_for_x) {
    wait_for_launches_before();
    let_next_launch_begin();
  }
  // Products that go on after their step read the stage before the one that is waited for.
  constexpr uint32_t kStagesAhead = Warp::kStaged ? kStages - 2 : kStages - 1;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kStagesAhead; ++i) {
    if (i < column_tiles) copier.copy(i, i);
    end_copy_group();
  }

  GemmTotals<kRowTiles, Warp::kTokenTiles, GemmLayout<Fragment>::kSharedTotals> totals(
      totals_memory);
  float sums[kRowTiles][Warp::kTokenTiles][Fragment::kD];
  uint32_t stage = 0;
  uint32_t begin = 0;
  for (;;) {
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kRowTiles; ++r) {
      TETRAD_UNROLL
      for (uint32_t n = 0; n < Warp::kTokenTiles; ++n) {
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; ++i)
          sums[r][n][i] = 0;
      }
    }
    const uint32_t left = column_tiles - begin;
    const uint32_t end = begin + (left < kSegmentTiles ? left : kSegmentTiles);
    for (uint32_t first = begin; first < end; first += kAhead) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kAhead; ++i) {
        const uint32_t column_tile = first + i;
        if (column_tile >= end) break;
        // This thread's part of the stage is here; after the barrier all of it is, and nobody
        // reads the stage that the new copies overwrite any more.
        wait_for_copy_groups<kStagesAhead - 1>();
        if constexpr (Warp::kStaged) show_to_warpgroups();
        sync_block();
        const uint32_t ahead_of_stage = stage + kStagesAhead;
        if (column_tile + kStagesAhead < column_tiles)
          copier.copy(column_tile + kStagesAhead,
                      ahead_of_stage < kStages ? ahead_of_stage : ahead_of_stage - kStages);
        end_copy_group();
        if constexpr (Warp::kStaged) wait_for_products();

        const char* x = copier.stages + stage * Copier::kStageBytes;
        if constexpr (Warp::kPrefetch != 0) {
          if (column_tile + Warp::kPrefetch < prefetch_end)
            prefetch_l2(line + (column_tile + Warp::kPrefetch) * Tile::kBytes);
        }
        multiply_pair<0, Warp::kStaged>(ahead[i], table, x, sums);
        multiply_pair<1, Warp::kStaged>(ahead[i], table, x, sums);
        if (column_tile + kAhead < column_tiles) {
          TETRAD_UNROLL
          for (uint32_t r = 0; r < kRowTiles; ++r)
            ahead[i][r].load(work.tiles[r / kTilesOfPart] +
                             (rows[r] + (column_tile + kAhead) * Tile::kBytes));
        }
        stage = stage == kStages - 1 ? 0 : stage + 1;
      }
    }
    if constexpr (Warp::kStaged) wait_for_sums(sums);
    if constexpr (kSize == GemmSize::segment) break;
    if (begin > 0) totals.add_to(sums);
    if (end == column_tiles) break;
    totals.store(sums);
    begin = end;
  }
  store.store(sums, first_row_tile);
}

/// The product by the smallest loop that has room for the block's tokens. shared.tokens and the
/// table have been written; no sync_block() yet.
template <class Tile, GemmSize kSize, uint32_t kParts, class Store>
TETRAD_DEVICE void multiply_block(const GemmShared<Tile, kSize>& shared,
                                  const GemmWork<kParts>& work, const uint16_t* x,
                                  uint32_t x_stride, uint32_t divisor, const Store& store) {
  const uint32_t num_tokens = work.num_tokens;
  // One after the other, not one or else the other: with several loops that end in one place the
  // assembler has each product wait for the one before.
  const auto by_loop_of = [&]<uint32_t kTokens>(uint32_t more_than) TETRAD_INLINE {
    if constexpr (kTokens <= GemmShared<Tile, kSize>::kTokens) {
      if (num_tokens <= more_than || num_tokens > kTokens) return;
      const StageCopier<kTokens> copier(x, x_stride, shared.stages, shared.tokens, divisor);
      multiply_tokens<Tile, kTokens, kSize>(work, copier, shared.table, shared.totals, store);
    }
  };
  sync_block();
  by_loop_of.template operator()<16>(0);
  by_loop_of.template operator()<32>(16);
  if constexpr (kSize == GemmSize::segment) {
    by_loop_of.template operator()<48>(32);
    by_loop_of.template operator()<64>(48);
  } else {
    by_loop_of.template operator()<64>(32);
    by_loop_of.template operator()<80>(64);
    by_loop_of.template operator()<96>(80);
    by_loop_of.template operator()<128>(96);
  }
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
