#pragma once

// How the tiles of weights of a warp of gemm_block.h get from global memory to its registers, in
// which they are unpacked: some steps ahead.

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

  /// The block's i-th: one beyond the matrix stands for its last one, and is not stored.
  TETRAD_DEVICE uint32_t row_tile(uint32_t i) const {
    const uint32_t wanted = first_row_tile + i;
    return wanted < row_tiles ? wanted : row_tiles - 1;
  }
};

/// All but the tiles: the row_block-th block of rows of matrices like this one, all of its columns.
template <class Tile, uint32_t kParts>
TETRAD_DEVICE GemmWork<kParts> work_on(const PackedMatrix& matrix, uint32_t row_block,
                                       uint32_t num_tokens) {
  const uint32_t column_tiles = tiles_for(matrix.cols, kTileColumns);
  return {.column_tiles = column_tiles,
          .row_bytes = column_tiles * Tile::kBytes,
          .row_tiles = tiles_for(matrix.rows, kTileRows),
          .first_row_tile = row_block * (kGemmRowTiles / kParts),
          .num_tokens = num_tokens};
}

/// Where a warp's weights are: kRowTiles / kParts consecutive tiles of rows of each matrix.
template <class Tile, uint32_t kRowTiles, uint32_t kParts>
struct WarpRows {
  static constexpr uint32_t kTilesOfPart = kRowTiles / kParts;
  const char* tiles[kParts];
  uint32_t rows[kRowTiles];  // bytes from the matrix on, which has less than 4 GiB
  uint32_t first_row_tile;
  uint32_t row_tiles;
  uint32_t row_bytes;
  uint32_t column_tiles;

  TETRAD_DEVICE explicit WarpRows(const GemmWork<kParts>& work)
      : first_row_tile(work.first_row_tile + warp() * kTilesOfPart),
        row_tiles(work.row_tiles),
        row_bytes(work.row_bytes),
        column_tiles(work.column_tiles) {
    TETRAD_UNROLL
    for (uint32_t part = 0; part < kParts; ++part)
      tiles[part] = work.tiles[part];
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kRowTiles; ++r)
      rows[r] = work.row_tile(warp() * kTilesOfPart + r % kTilesOfPart) * row_bytes;
  }
  TETRAD_DEVICE const char* at(uint32_t r, uint32_t column_tile) const {
    return tiles[r / kTilesOfPart] + (rows[r] + column_tile * Tile::kBytes);
  }
  /// Asks for all of them to come into the L2 cache.
  TETRAD_DEVICE void prefetch() const {
    const uint32_t bytes = column_tiles * Tile::kBytes;
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kRowTiles; ++r) {
      TETRAD_NO_UNROLL
      for (uint32_t from = lane() * 128; from < bytes; from += kWarpSize * 128)
        prefetch_l2(at(r, 0) + from);
    }
  }
};

/// kAhead column tiles in registers or on their way there. Where only one fits, it is asked for
/// when the one before is unpacked, half a step before it is needed, and to the L2 cache kPrefetch
/// steps before.
template <class Tile, uint32_t kRowTiles, uint32_t kParts, uint32_t kAhead, uint32_t kPrefetch>
struct WeightsInRegisters {
  using Rows = WarpRows<Tile, kRowTiles, kParts>;
  static constexpr uint32_t kAtOnce = kAhead;
  // This lane's 128 bytes of the warp's tiles of a step.
  static constexpr uint32_t kLines = Tile::kBytes / 128;
  static_assert(kRowTiles * kLines <= kWarpSize || kPrefetch == 0);
  const Rows& rows;
  Tile ahead[kAhead][kRowTiles];
  const char* line = nullptr;
  uint32_t prefetch_end = 0;

  TETRAD_DEVICE explicit WeightsInRegisters(const Rows& of) : rows(of) {
    if constexpr (kPrefetch != 0) {
      const uint32_t row_tile = rows.first_row_tile + lane() / kLines % Rows::kTilesOfPart;
      const char* matrix = rows.tiles[0];
      if constexpr (kParts == 2)
        matrix = lane() / kLines < Rows::kTilesOfPart ? matrix : rows.tiles[1];
      line = matrix + static_cast<uint64_t>(row_tile) * rows.row_bytes + lane() % kLines * 128;
      prefetch_end =
          lane() < kRowTiles * kLines && row_tile < rows.row_tiles ? rows.column_tiles : 0;
    }
  }
  /// Asks for the first tiles.
  TETRAD_DEVICE void start() {
    if constexpr (kPrefetch != 0) {
      TETRAD_UNROLL
      for (uint32_t i = kAhead; i < kPrefetch; ++i) {
        if (i < prefetch_end) prefetch_l2(line + i * Tile::kBytes);
      }
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kAhead; ++i) {
      TETRAD_UNROLL
      for (uint32_t r = 0; r < kRowTiles; ++r) {
        if (i < rows.column_tiles) ahead[i][r].load(rows.at(r, i));
      }
    }
  }
  /// The tiles of a step: `turn` counts steps, modulo kAtOnce.
  TETRAD_DEVICE const Tile (&tiles_of(uint32_t turn, uint32_t column_tile))[kRowTiles] {
    if constexpr (kPrefetch != 0) {
      if (column_tile + kPrefetch < prefetch_end)
        prefetch_l2(line + (column_tile + kPrefetch) * Tile::kBytes);
    }
    return ahead[turn];
  }
  /// They have been unpacked.
  TETRAD_DEVICE void end_of(uint32_t turn, uint32_t column_tile) {
    if (column_tile + kAhead >= rows.column_tiles) return;
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kRowTiles; ++r)
      ahead[turn][r].load(rows.at(r, column_tile + kAhead));
  }
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
