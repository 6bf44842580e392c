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

/// The columns of a segment, of num_tokens from `first` on, to place(token, piece) of each piece of
/// 16 bytes; by all threads. A sync_block() must follow.
template <class Place>
TETRAD_DEVICE void copy_segment(const GemmArgs& args, uint32_t segment, uint32_t num_tiles,
                                uint32_t first, uint32_t num_tokens, const Place& place) {
  const uint32_t pieces = num_tiles * kTileColumns / 8;
  for (uint32_t i = thread_index(); i < num_tokens * pieces; i += kDecodeThreads) {
    const uint32_t token = i / pieces;
    const uint32_t piece = i - token * pieces;
    copy_16_async(place(token, piece), args.x +
                                           static_cast<uint64_t>(first + token) * args.x_stride +
                                           segment * kSegmentColumns + piece * 8);
  }
  end_copy_group();
  wait_for_copy_groups<0>();
}

/// A warp's sums of a tile of rows, of num_tokens from `first` on, to where add_segments finds
/// them.
template <uint32_t kTokenTiles>
TETRAD_DEVICE void store_segment(const GemmArgs& args, uint32_t segment, uint32_t row_tile,
                                 uint32_t first, uint32_t num_tokens,
                                 const float (&sums)[kTokenTiles][Fragment::kD]) {
  float* out = partial_of(args, segment) + static_cast<uint64_t>(first) * args.weight.rows +
               row_tile * kTileRows;
  TETRAD_UNROLL
  for (uint32_t n = 0; n < kTokenTiles; ++n) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t token = n * Fragment::kTokens + Fragment::d_token(lane(), i);
      if (token < num_tokens)
        out[static_cast<uint64_t>(token) * args.weight.rows + Fragment::d_row(lane(), i)] =
            sums[n][i];
    }
  }
}

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

  copy_segment(args, segment, num_tiles, 0, args.num_tokens,
               [&](uint32_t token, uint32_t piece)
                   TETRAD_INLINE { return x + token * kStride + piece * 8; });
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
  store_segment(args, segment, row_tile, 0, args.num_tokens, sums);
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
