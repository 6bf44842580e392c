#pragma once

// Products for many tokens: out[t] = W x[t], bit for bit what decode_product.h computes. A block of
// 8 warps takes 256 rows of W and a tile of tokens. Activations come through shared memory, 64
// columns a stage, some stages ahead; a warp unpacks the weights of its rows once for all tokens.
// Of codes so are the products of machines without wgmma, those of size `small`, and of a segment
// of the columns what segment_product.h and segment_staged.h do not take: others are gemm_fed.h's.
// What a step of 64 columns costs an H200's multiprocessor for T tokens is 12.4 T cycles of
// products by mma.sync, or 8 T by wgmma.

#include "gpu/warpgroup.h"
#include "kernels/gpu/gemm_weights.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

/// What a warp has of a block's rows and its kTokens tokens: some rows of all tokens.
template <class Tile, uint32_t kTokens, GemmSize kSize, uint32_t kParts>
struct WarpTile {
  using Layout = GemmLayout<Fragment>;
  static constexpr uint32_t kRowTiles = kGemmRowTiles / kGemmWarps;
  static constexpr uint32_t kTokenTiles = kTokens / Fragment::kTokens;
  /// Four warps' products together, where the machine has them and gemm_fed.h does not: of weights
  /// that need not be unpacked.
  static constexpr bool kStaged = kHasWarpgroups && kSize == GemmSize::large && Tile::kIsOperand;
  static constexpr uint32_t kStagesAhead = Layout::kStages - 1;
  static constexpr uint32_t kTotalsBytes = Layout::totals_bytes(kSize, kTokens);
  // What multiply_staged() asks for of every stage.
  static_assert(!kStaged ||
                (kTotalsBytes % 1024 == 0 && StageCopier<kTokens>::kStageBytes % 1024 == 0));
  /// Whether registers have room for one column tile of weights alone. gfx12 has totals there, too,
  /// but of a segment there are none.
  static constexpr bool kOnlyOneFits = kTokens > 64 || (kTokens == 64 && Fragment::kTokens == 16 &&
                                                        kSize != GemmSize::segment);
  /// Column tiles in registers; divides kSegmentTiles.
  static constexpr uint32_t kAhead = kOnlyOneFits ? 1 : 2;
  static constexpr uint32_t kPrefetch = kOnlyOneFits ? 3 : 0;
  static_assert(kSegmentTiles % kAhead == 0);

  using Rows = WarpRows<Tile, kRowTiles, kParts>;
  using Weights = WeightsInRegisters<Tile, kRowTiles, kParts, kAhead, kPrefetch>;
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

/// The product of a block that has at most kTokens tokens. `store` gets what each warp has.
template <class Tile, uint32_t kTokens, GemmSize kSize, uint32_t kParts, class Store>
TETRAD_DEVICE void multiply_tokens(const GemmShared<Tile, kSize>& shared,
                                   const GemmWork<kParts>& work, const uint16_t* x,
                                   uint32_t x_stride, uint32_t divisor, const Store& store) {
  using Warp = WarpTile<Tile, kTokens, kSize, kParts>;
  constexpr uint32_t kStages = GemmLayout<Fragment>::kStages;
  constexpr uint32_t kStagesAhead = Warp::kStagesAhead;
  const StageCopier<kTokens> copier(x, x_stride, shared.loop_memory + Warp::kTotalsBytes,
                                    shared.tokens, divisor);
  const uint32_t column_tiles = work.column_tiles;
  const typename Warp::Rows rows(work);
  typename Warp::Weights weights(rows);
  weights.start();
  // A segment is over before a few steps ahead of its loads would have hidden the memory's latency.
  if constexpr (kSize == GemmSize::segment) rows.prefetch();
  if (work.waits_for_x) {
    wait_for_launches_before();
    let_next_launch_begin();
  }
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kStagesAhead; ++i) {
    if (i < column_tiles) copier.copy(i, i);
    end_copy_group();
  }

  GemmTotals<Warp::kRowTiles, Warp::kTokenTiles, GemmLayout<Fragment>::kSharedTotals> totals(
      shared.loop_memory);
  float sums[Warp::kRowTiles][Warp::kTokenTiles][Fragment::kD];
  uint32_t stage = 0;
  uint32_t begin = 0;
  for (;;) {
    fill_sums(sums, 0);
    const uint32_t left = column_tiles - begin;
    const uint32_t end = begin + (left < kSegmentTiles ? left : kSegmentTiles);
    for (uint32_t first = begin; first < end; first += Warp::Weights::kAtOnce) {
      TETRAD_UNROLL
      for (uint32_t turn = 0; turn < Warp::Weights::kAtOnce; ++turn) {
        const uint32_t column_tile = first + turn;
        if (column_tile >= end) break;
        // This thread's part of the stage is here; after the barrier all of it is, and nobody
        // reads the stage that the new copies overwrite any more.
        wait_for_copy_groups<kStagesAhead - 1>();
        if constexpr (Warp::kStaged) show_to_warpgroups();
        sync_block();
        if (column_tile + kStagesAhead < column_tiles) {
          const uint32_t sum = stage + kStagesAhead;
          const uint32_t free_stage = sum < kStages ? sum : sum - kStages;
          copier.copy(column_tile + kStagesAhead, free_stage);
        }
        end_copy_group();
        const auto& tiles = weights.tiles_of(turn, column_tile);
        multiply_pair<0, Warp::kStaged>(tiles, shared.table, copier.stage(stage), sums);
        multiply_pair<1, Warp::kStaged>(tiles, shared.table, copier.stage(stage), sums);
        // The tile's registers are those that products read: they may not be loaded before.
        if constexpr (Warp::kStaged) wait_for_products();
        weights.end_of(turn, column_tile);
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
  store.store(sums, rows.first_row_tile);
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
      multiply_tokens<Tile, kTokens, kSize>(shared, work, x, x_stride, divisor, store);
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
