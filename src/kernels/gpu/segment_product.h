#pragma once

// Products for a few tokens, as decode_product.h has them, where a block has one segment of the
// columns and each of its warps a tile of rows: so that a block needs one segment of the tokens'
// columns in shared memory, not all, and all blocks fit at once. Its sums go to memory, where
// add_segments.h adds them up.

#include "kernels/gpu/decode_product.h"
#include "kernels/gpu/gemm.h"

namespace tetrad::gpu {

/// Blocks that are at work on a multiprocessor at once.
inline constexpr uint32_t kSegmentProductBlocks = 2;

/// Bytes of shared memory that a block asks for.
template <class F>
constexpr uint32_t segment_product_shared_bytes(uint32_t num_tokens) {
  return kLevelTableBytes + num_tokens * activation_stride<F>(kSegmentColumns) * 2;
}
static_assert(segment_product_shared_bytes<Gfx12Fragment>(Gfx12Fragment::kTokens) <= 65536);

namespace TETRAD_MACHINE {

/// Of up to kTokenTiles of a fragment's tokens.
template <class Tile, uint32_t kTokenTiles>
TETRAD_DEVICE void segment_product(const GemmArgs& args) {
  char* memory = shared_memory();
  auto* table = reinterpret_cast<uint32_t*>(memory);
  auto* x = reinterpret_cast<uint16_t*>(memory + kLevelTableBytes);  // [T][kStride]
  constexpr uint32_t kStride = activation_stride<Fragment>(kSegmentColumns);
  const uint32_t segment = block_y();
  const uint32_t row_tile = block_x() * kDecodeWarps + warp();
  const uint32_t column_tiles = tiles_for(args.weight.cols, kTileColumns);
  const uint32_t num_tiles = tiles_of_segment(column_tiles, segment);
  const char* tiles = nullptr;
  if (row_tile < args.weight.rows / kTileRows)
    tiles = segment_at<Tile>(args.weight.tiles, column_tiles, row_tile, segment);
  using Reader = SegmentReader<Tile, false, kTokenTiles>;
  Reader reader;
  reader.start(tiles, num_tiles);
  if constexpr (Tile::kBytes == kCodeTileBytes)
    fill_level_table(table, args.codebook, kDecodeThreads);
  wait_for_launches_before();
  let_next_launch_begin();

  const uint32_t pieces = num_tiles * kTileColumns / 8;
  for (uint32_t i = thread_index(); i < args.num_tokens * pieces; i += kDecodeThreads) {
    const uint32_t token = i / pieces;
    const uint32_t column = (i - token * pieces) * 8;
    copy_16_async(
        x + token * kStride + column,
        args.x + static_cast<uint64_t>(token) * args.x_stride + segment * kSegmentColumns + column);
  }
  end_copy_group();
  wait_for_copy_groups<0>();
  sync_block();
  if (tiles == nullptr) return;

  // Instead of tokens that are not there the first: what is computed of them is not stored.
  typename Reader::Tokens of_lane;
  TETRAD_UNROLL
  for (uint32_t n = 0; n < kTokenTiles; ++n) {
    const uint32_t token = n * Fragment::kTokens + Fragment::row_to_load(lane());
    of_lane[n] = x + (token < args.num_tokens ? token : 0) * kStride;
  }
  typename Reader::Sums sums = {};
  reader.multiply(tiles, nullptr, num_tiles, of_lane, table, sums);
  float* out = partial_of(args, segment) + row_tile * kTileRows;
  TETRAD_UNROLL
  for (uint32_t n = 0; n < kTokenTiles; ++n) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t token = n * Fragment::kTokens + Fragment::d_token(lane(), i);
      if (token < args.num_tokens)
        out[static_cast<uint64_t>(token) * args.weight.rows + Fragment::d_row(lane(), i)] =
            sums[n][i];
    }
  }
}

// Grid: (tiles of rows / kDecodeWarps rounded up, segments). Rows are whole tiles, tokens at most
// a fragment's, or two of them.

TETRAD_KERNEL(segment_product_codes, GemmArgs, 256) {
  segment_product<CodeTile<Fragment>, 1>(args);
}
TETRAD_KERNEL(segment_product_two_codes, GemmArgs, 256) {
  segment_product<CodeTile<Fragment>, 2>(args);
}
TETRAD_KERNEL(segment_product_halves, GemmArgs, 256) {
  segment_product<HalfTile<Fragment>, 1>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
