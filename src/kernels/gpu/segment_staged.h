#pragma once

// segment_product.h for more tokens, by wgmma: what takes time there is that every warp loads every
// token's columns from shared memory for each of its tiles, and wgmma reads them by itself. All of
// a segment's columns are brought there at once, so that the warps meet once. Only sm_90a has it.

#include "gpu/warpgroup.h"
#include "kernels/gpu/segment_product.h"

namespace tetrad::gpu {

/// Tiles of 8 tokens that there are kernels for: two blocks of the larger one fit a
/// multiprocessor's shared memory.
inline constexpr uint32_t kStagedTokenTiles[] = {4, 6};

/// Bytes of shared memory that a block asks for.
constexpr uint32_t segment_staged_shared_bytes(uint32_t token_tiles) {
  return kLevelTableBytes + token_tiles * 8 * kSegmentColumns * 2;
}
/// As much as a multiprocessor has, which keeps 1 KiB of it for each block.
static_assert(kSegmentProductBlocks * (segment_staged_shared_bytes(6) + 1024) <= 228 * 1024);

#if TETRAD_HAS_WARPGROUPS
namespace TETRAD_MACHINE {

/// A block takes up to kTokenTiles of a fragment's tokens.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void segment_staged(const GemmArgs& args) {
  using Tile = CodeTile<Fragment>;
  constexpr uint32_t kStageBytes = kTokenTiles * Fragment::kTokens * kTileColumns * 2;
  static_assert(kLevelTableBytes % 1024 == 0 && kStageBytes % 1024 == 0);
  constexpr uint32_t kTilesAhead = 4;  // 16 warps a multiprocessor times 4 tiles are 41 KB
  char* memory = shared_memory();
  auto* table = reinterpret_cast<uint32_t*>(memory);
  char* stages = memory + kLevelTableBytes;  // [column tiles][tokens][64] halves
  const uint32_t segment = block_y();
  const uint32_t column_tiles = tiles_for(args.weight.cols, kTileColumns);
  const uint32_t num_tiles = tiles_of_segment(column_tiles, segment);
  // Warps behind the last rows take these once more: four multiply together.
  const uint32_t row_tiles = args.weight.rows / kTileRows;
  const uint32_t wanted = block_x() * kDecodeWarps + warp();
  const uint32_t row_tile = wanted < row_tiles ? wanted : row_tiles - 1;
  const char* tiles = segment_at<Tile>(args.weight.tiles, column_tiles, row_tile, segment);
  Tile ahead[kTilesAhead];
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kTilesAhead; ++i) {
    if (i < num_tiles) ahead[i].load(tiles + i * Tile::kBytes);
  }
  fill_level_table(table, args.codebook, kDecodeThreads);
  wait_for_launches_before();
  let_next_launch_begin();

  constexpr uint32_t kTokens = kTokenTiles * Fragment::kTokens;
  const uint32_t first_token = block_z() * kTokens;
  const uint32_t left = args.num_tokens - first_token;
  const uint32_t num_tokens = left < kTokens ? left : kTokens;
  copy_segment(args, segment, num_tiles, first_token, num_tokens,
               [&](uint32_t token, uint32_t piece) TETRAD_INLINE {
                 return staged_piece(stages + piece / 8 * kStageBytes, token, piece % 8);
               });
  show_to_warpgroups();
  sync_block();

  float sums[kTokenTiles][Fragment::kD] = {};
  for (uint32_t first = 0; first < num_tiles; first += kTilesAhead) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kTilesAhead; ++i) {
      const uint32_t column_tile = first + i;
      if (column_tile >= num_tiles) break;
      // A tile's levels are looked up while the products of the one before are on their way, but A
      // may be written only then.
      uint32_t levels[kTileGroups][Fragment::kA];
      uint32_t a[kTileGroups][Fragment::kA];
      const auto of_groups = [&](const auto& each) TETRAD_INLINE {
        each.template operator()<0>();
        each.template operator()<1>();
        each.template operator()<2>();
        each.template operator()<3>();
      };
      of_groups([&]<uint32_t group>()
                    TETRAD_INLINE { ahead[i].template look_up<group>(table, levels[group]); });
      wait_for_products();
      of_groups([&]<uint32_t group>()
                    TETRAD_INLINE { ahead[i].template scale<group>(levels[group], a[group]); });
      if (column_tile + kTilesAhead < num_tiles)
        ahead[i].load(tiles + (column_tile + kTilesAhead) * Tile::kBytes);
      begin_products();
      TETRAD_UNROLL
      for (uint32_t group = 0; group < kTileGroups; ++group)
        multiply_staged(sums, a[group], stages + column_tile * kStageBytes, group);
      end_products();
    }
  }
  wait_for_sums(sums);
  if (wanted < row_tiles) store_segment(args, segment, row_tile, first_token, num_tokens, sums);
}

// Grid: (tiles of rows / kDecodeWarps, segments, tokens / a block's), rounded up. Rows are whole
// tiles.

TETRAD_KERNEL(segment_staged_four_codes, GemmArgs, 256) {
  segment_staged<4>(args);
}
TETRAD_KERNEL(segment_staged_six_codes, GemmArgs, 256) {
  segment_staged<6>(args);
}

}  // namespace TETRAD_MACHINE
#endif
}  // namespace tetrad::gpu
