#pragma once

// The experts for many tokens: as gemm.h, over the tiles of tokens that group_by_expert lists. The
// grid has a row of blocks for each tile there may be; those for which there is none end at once,
// and come last. (That of a …_fed kernel has as many blocks as one likes.)

#include "kernels/gpu/gemm.h"
#include "kernels/gpu/group_by_expert.h"
#include "kernels/gpu/swiglu.h"

namespace tetrad::gpu {

/// Rows of w1, and as many of w3, a block takes.
inline constexpr uint32_t kGemmUpRows = kGemmRows / 2;

/// hidden[pair] = silu(w1 x) * (w3 x) * kHiddenScale of the pair's expert and token. Grid:
/// (rows / kGemmUpRows rounded up, max_token_tiles()).
struct ExpertsUpGemmArgs {
  PackedMatrix w1;  // of expert 0: [intermediate_size, hidden_size]; expert e's tiles follow at
  PackedMatrix w3;  // e * expert_stride bytes
  uint64_t expert_stride = 0;
  int8_t codebook[16] = {};
  const uint16_t* x = nullptr;  // [T, x_stride] halves in activation_offset order, as in GemmArgs
  uint32_t x_stride = 0;
  uint32_t num_experts_per_tok = 0;
  ExpertLists lists;
  TokenTiles tiles;            // token_tile: at most gemm_tokens(), or what the shape has
  uint16_t* hidden = nullptr;  // [pairs, hidden_stride] halves in activation_offset order; from
  uint32_t hidden_stride = 0;  // rows on to the next multiple of 64 zeros are written
};

/// products[pair] = w2 hidden[pair] / kHiddenScale of the pair's expert. Grid: (rows / kGemmRows
/// rounded up, max_token_tiles()).
struct ExpertsDownGemmArgs {
  PackedMatrix w2;  // of expert 0: [hidden_size, intermediate_size]
  uint64_t expert_stride = 0;
  int8_t codebook[16] = {};
  const uint16_t* hidden = nullptr;
  uint32_t hidden_stride = 0;
  ExpertLists lists;
  TokenTiles tiles;
  float* products = nullptr;  // [pairs, products_stride]
  uint32_t products_stride = 0;
};

namespace TETRAD_MACHINE {

/// Tokens of one expert: the index-th tile of the list.
struct ExpertTile {
  uint32_t expert = 0;
  uint32_t first_pair = 0;  // in sorted_pairs
  uint32_t num_pairs = 0;   // 0: there is no such tile

  TETRAD_DEVICE ExpertTile(const ExpertLists& lists, const TokenTiles& tiles, uint32_t index) {
    if (index >= *tiles.num_tiles) return;
    const uint32_t tile = tiles.tiles[index];
    expert = tile >> 16;
    const uint32_t first = lists.expert_offsets[expert];
    const uint32_t pairs = lists.expert_offsets[expert + 1] - first;
    const uint32_t tokens = tiles.tokens_of_tile(pairs);
    const uint32_t before = (tile & 0xFFFFu) * tokens;
    first_pair = first + before;
    num_pairs = smaller_of(pairs - before, tokens);
  }
};

/// SwiGLU of the first half of the row tiles, of w1, with the second, of w3.
struct StoreHidden {
  uint16_t* hidden;
  uint32_t stride;
  uint32_t num_rows;
  float gate_scale;
  float up_scale;
  const uint32_t* pairs;
  uint32_t num_pairs;

  template <uint32_t kRowTiles, uint32_t kTokenTiles>
  TETRAD_DEVICE void store(const float (&sums)[kRowTiles][kTokenTiles][Fragment::kD],
                           uint32_t first_row_tile) const {
    const uint32_t padded_rows = tiles_for(num_rows, kTileColumns) * kTileColumns;
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTokenTiles; ++n) {
      const uint32_t token = n * Fragment::kTokens + Fragment::b_token(lane());
      uint16_t* to = hidden + static_cast<uint64_t>(pairs[token]) * stride;
      TETRAD_UNROLL
      for (uint32_t r = 0; r < kRowTiles / 2; ++r) {
        const uint32_t first_row = (first_row_tile + r) * kTileRows;
        // Turned round, so that a lane has consecutive rows of one token.
        uint32_t of_rows[Fragment::kD / 2];
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; ++i) {
          const uint32_t row = first_row + Fragment::d_row(lane(), i);
          const uint16_t value =
              swiglu_to_half(sums[r][n][i] * gate_scale, sums[r + kRowTiles / 2][n][i] * up_scale);
          const uint32_t there = row < num_rows ? value : 0;
          of_rows[i / 2] = i % 2 == 0 ? there : of_rows[i / 2] | there << 16;
        }
        uint32_t of_token[Fragment::kB];
        Fragment::as_b(of_token, of_rows);
        TETRAD_UNROLL
        for (uint32_t j = 0; j < Fragment::kB; ++j) {
          const uint32_t row = first_row + Fragment::row_of_k(lane(), 2 * j);
          if (token < num_pairs && row < padded_rows)
            *reinterpret_cast<uint32_t*>(to + activation_offset<Fragment>(row)) = of_token[j];
        }
      }
    }
  }
};

/// A block's rows of w1 and w3, or of w2, and where its results go. `pairs`: of its tokens.
template <class Tile>
TETRAD_DEVICE GemmWork<2> up_work(const ExpertsUpGemmArgs& args, uint32_t row_block,
                                  const ExpertTile& tile) {
  auto work = work_on<Tile, 2>(args.w1, row_block, tile.num_pairs);
  work.tiles[0] = args.w1.tiles + tile.expert * args.expert_stride;
  work.tiles[1] = args.w3.tiles + tile.expert * args.expert_stride;
  return work;
}
TETRAD_DEVICE StoreHidden up_store(const ExpertsUpGemmArgs& args, const uint32_t* pairs,
                                   uint32_t num_pairs) {
  return {args.hidden, args.hidden_stride, args.w1.rows, args.w1.scale, args.w3.scale,
          pairs,       num_pairs};
}
template <class Tile>
TETRAD_DEVICE GemmWork<1> down_work(const ExpertsDownGemmArgs& args, uint32_t row_block,
                                    const ExpertTile& tile) {
  auto work = work_on<Tile, 1>(args.w2, row_block, tile.num_pairs);
  work.tiles[0] = args.w2.tiles + tile.expert * args.expert_stride;
  return work;
}
TETRAD_DEVICE StoreFloats down_store(const ExpertsDownGemmArgs& args, const uint32_t* pairs,
                                     uint32_t num_pairs) {
  return {
      args.products, args.products_stride, args.w2.rows, args.w2.scale / kHiddenScale, false, pairs,
      num_pairs};
}

template <class Tile, GemmSize kSize>
TETRAD_DEVICE void experts_up_gemm(const ExpertsUpGemmArgs& args) {
  wait_for_launches_before();
  let_next_launch_begin();
  const ExpertTile tile(args.lists, args.tiles, block_y());
  if (tile.num_pairs == 0) return;
  const GemmShared<Tile, kSize> shared;
  if constexpr (Tile::kBytes == kCodeTileBytes)
    fill_level_table(shared.table, args.codebook, kGemmThreads);
  if (thread_index() < shared.kTokens)
    shared.tokens[thread_index()] =
        args.lists.sorted_pairs[tile.first_pair + shared.token_of_thread(tile.num_pairs)];
  multiply_block(shared, up_work<Tile>(args, block_x(), tile), args.x, args.x_stride,
                 args.num_experts_per_tok, up_store(args, shared.tokens, tile.num_pairs));
}

template <class Tile, GemmSize kSize>
TETRAD_DEVICE void experts_down_gemm(const ExpertsDownGemmArgs& args) {
  wait_for_launches_before();
  let_next_launch_begin();
  const ExpertTile tile(args.lists, args.tiles, block_y());
  if (tile.num_pairs == 0) return;
  const GemmShared<Tile, kSize> shared;
  if constexpr (Tile::kBytes == kCodeTileBytes)
    fill_level_table(shared.table, args.codebook, kGemmThreads);
  if (thread_index() < shared.kTokens)
    shared.tokens[thread_index()] =
        args.lists.sorted_pairs[tile.first_pair + shared.token_of_thread(tile.num_pairs)];
  multiply_block(shared, down_work<Tile>(args, block_x(), tile), args.hidden, args.hidden_stride, 1,
                 down_store(args, shared.tokens, tile.num_pairs));
}

#if !TETRAD_ONLY_WARPGROUPS
TETRAD_KERNEL(experts_up_gemm_codes, ExpertsUpGemmArgs, 256) {
  experts_up_gemm<CodeTile<Fragment>, GemmSize::large>(args);
}
TETRAD_KERNEL(experts_down_gemm_codes, ExpertsDownGemmArgs, 256) {
  experts_down_gemm<CodeTile<Fragment>, GemmSize::large>(args);
}
#endif
TETRAD_KERNEL(experts_up_gemm_codes_small, ExpertsUpGemmArgs, 256) {
  experts_up_gemm<CodeTile<Fragment>, GemmSize::small>(args);
}
TETRAD_KERNEL(experts_up_gemm_halves, ExpertsUpGemmArgs, 256) {
  experts_up_gemm<HalfTile<Fragment>, GemmSize::large>(args);
}
TETRAD_KERNEL(experts_down_gemm_codes_small, ExpertsDownGemmArgs, 256) {
  experts_down_gemm<CodeTile<Fragment>, GemmSize::small>(args);
}
TETRAD_KERNEL(experts_down_gemm_halves, ExpertsDownGemmArgs, 256) {
  experts_down_gemm<HalfTile<Fragment>, GemmSize::large>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
