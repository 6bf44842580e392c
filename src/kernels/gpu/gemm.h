#pragma once

// The product of one matrix for many tokens (gemm_block.h).

#include "kernels/gpu/gemm_block.h"

namespace tetrad::gpu {

/// out[t] = W x[t]: f32 rows, or added to them. Grid: (rows / kGemmRows, T / token_tile), both
/// rounded up; of gemm_segments also cols / kSegmentColumns, and only `partial` is written, for
/// add_segments, as by segment_product and segment_staged; of gemm_codes_fed… as many blocks as one
/// likes.
struct GemmArgs {
  PackedMatrix weight;
  int8_t codebook[16] = {};
  const uint16_t* x = nullptr;  // [T, x_stride] halves in activation_offset order, zero from cols
  uint32_t x_stride = 0;        // on to the next multiple of 64; the stride is one as well
  uint32_t num_tokens = 0;
  uint32_t token_tile = 0;  // a block's, at most gemm_tokens(), or the fed shape's
  float* out = nullptr;     // [T, out_stride]
  uint32_t out_stride = 0;
  uint32_t add = 0;  // 1: out += W x
  // Of products by segments, without `scale`: [segments, T, rows], where rows are a multiple of
  // kTileRows.
  float* partial = nullptr;
};

/// Tokens up to which a product may be computed by segments: what their sums take of memory grows
/// with them, and so do the blocks that take all columns.
inline constexpr uint32_t kMaxSegmentGemmTokens = 128;

/// Floats of GemmArgs::partial for a product of up to num_tokens.
constexpr uint64_t gemm_partial_floats(uint32_t rows, uint32_t cols, uint64_t num_tokens) {
  const uint64_t tokens = num_tokens < kMaxSegmentGemmTokens ? num_tokens : kMaxSegmentGemmTokens;
  return tokens * tiles_for(cols, kSegmentColumns) * rows;
}

namespace TETRAD_MACHINE {

/// Rows of floats, by token.
struct StoreFloats {
  float* out;
  uint32_t stride;
  uint32_t num_rows;
  float scale;
  bool add;
  const uint32_t* tokens;  // [tokens of the block's size]
  uint32_t num_tokens;

  template <uint32_t kRowTiles, uint32_t kTokenTiles>
  TETRAD_DEVICE void store(const float (&sums)[kRowTiles][kTokenTiles][Fragment::kD],
                           uint32_t first_row_tile) const {
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTokenTiles; ++n) {
      float* to[Fragment::kD];
      bool there[Fragment::kD];
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i) {
        const uint32_t token = n * Fragment::kTokens + Fragment::d_token(lane(), i);
        to[i] = out + static_cast<uint64_t>(tokens[token]) * stride;
        there[i] = token < num_tokens;
      }
      TETRAD_UNROLL
      for (uint32_t j = 0; j < kRowTiles * Fragment::kD; ++j) {
        const uint32_t r = j / Fragment::kD;
        const uint32_t i = j % Fragment::kD;
        const uint32_t row = row_of(first_row_tile, j);
        const float value = sums[r][n][i] * scale;
        if (!there[i] || row >= num_rows) continue;
        if (add)
          add_in_memory(to[i] + row, value);
        else
          to[i][row] = value;
      }
    }
  }

  TETRAD_DEVICE static uint32_t row_of(uint32_t first_row_tile, uint32_t j) {
    return (first_row_tile + j / Fragment::kD) * kTileRows +
           Fragment::d_row(lane(), j % Fragment::kD);
  }
};

/// A block's rows, of the tokens from `first` on, and where its results go. `tokens`: of the
/// output.
template <class Tile>
TETRAD_DEVICE GemmWork<1> dense_work(const GemmArgs& args, uint32_t row_block, uint32_t first) {
  const uint32_t left = args.num_tokens - first;
  auto work =
      work_on<Tile, 1>(args.weight, row_block, left < args.token_tile ? left : args.token_tile);
  work.tiles[0] = args.weight.tiles;
  return work;
}
TETRAD_DEVICE StoreFloats dense_store(const GemmArgs& args, const uint32_t* tokens,
                                      uint32_t num_tokens) {
  return {args.out,      args.out_stride, args.weight.rows, args.weight.scale,
          args.add != 0, tokens,          num_tokens};
}

/// Where a segment's sums go.
TETRAD_DEVICE float* partial_of(const GemmArgs& args, uint32_t segment) {
  return args.partial + static_cast<uint64_t>(segment) * args.num_tokens * args.weight.rows;
}

template <class Tile, GemmSize kSize>
TETRAD_DEVICE void gemm(const GemmArgs& args) {
  const GemmShared<Tile, kSize> shared;
  if constexpr (Tile::kBytes == kCodeTileBytes)
    fill_level_table(shared.table, args.codebook, kGemmThreads);
  const uint32_t first = block_y() * args.token_tile;
  auto work = dense_work<Tile>(args, block_x(), first);
  work.waits_for_x = true;
  if (thread_index() < shared.kTokens)
    shared.tokens[thread_index()] = first + shared.token_of_thread(work.num_tokens);
  if constexpr (kSize == GemmSize::segment) {
    const uint32_t segment = block_z();
    work.tiles[0] += segment * kSegmentTiles * Tile::kBytes;
    work.column_tiles = tiles_of_segment(work.column_tiles, segment);
    multiply_block(shared, work, args.x + segment * kSegmentColumns, args.x_stride, 1,
                   StoreFloats{partial_of(args, segment), args.weight.rows, args.weight.rows, 1.0f,
                               false, shared.tokens, work.num_tokens});
  } else {
    multiply_block(shared, work, args.x, args.x_stride, 1,
                   dense_store(args, shared.tokens, work.num_tokens));
  }
}

#if !TETRAD_ONLY_WARPGROUPS
TETRAD_KERNEL(gemm_codes, GemmArgs, 256) {
  gemm<CodeTile<Fragment>, GemmSize::large>(args);
}
#endif
TETRAD_KERNEL(gemm_codes_small, GemmArgs, 256) {
  gemm<CodeTile<Fragment>, GemmSize::small>(args);
}
TETRAD_KERNEL(gemm_halves, GemmArgs, 256) {
  gemm<HalfTile<Fragment>, GemmSize::large>(args);
}
TETRAD_KERNEL(gemm_halves_small, GemmArgs, 256) {
  gemm<HalfTile<Fragment>, GemmSize::small>(args);
}
TETRAD_KERNEL(gemm_segments_codes, GemmArgs, 256) {
  gemm<CodeTile<Fragment>, GemmSize::segment>(args);
}
TETRAD_KERNEL(gemm_segments_halves, GemmArgs, 256) {
  gemm<HalfTile<Fragment>, GemmSize::segment>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
