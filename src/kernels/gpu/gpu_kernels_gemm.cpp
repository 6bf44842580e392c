// Products with many tokens: tiles of what size, and who computes them.

#include <algorithm>

#include "kernels/gpu/gpu_kernels.h"

namespace tetrad::gpu {

uint32_t GpuKernels::gemm_shared(TileFormat format, GemmSize size) const {
  return by_fragment([&]<class F>() { return gemm_shared_bytes<F>(format, size); });
}

uint32_t GpuKernels::gemm_tokens(TileFormat format, GemmSize size) const {
  return by_fragment([&]<class F>() { return gpu::gemm_tokens<F>(format, size); });
}

uint32_t GpuKernels::dense_token_tile(uint32_t most, uint32_t row_blocks, uint32_t num_tokens,
                                      uint32_t per_multiprocessor) const {
  uint32_t best = 0;
  uint64_t least = 0;
  // What a block has a loop of its own for.
  for (const uint32_t tile : {16u, 32u, 64u, 96u, 128u}) {
    if (tile > most) break;
    const uint64_t rounds = tiles_for(row_blocks * tiles_for(num_tokens, tile),
                                      num_multiprocessors_ * per_multiprocessor);
    const uint64_t time = rounds * (tile + tuning_.gemm_block_tokens);
    if (best == 0 || time <= least) {
      best = tile;
      least = time;
    }
  }
  return best;
}

void GpuKernels::gemm(GemmArgs args) {
  const bool is_codes = args.weight.format == TileFormat::codes;
  const GemmSize size =
      args.num_tokens <= tuning_.small_gemm_tokens ? GemmSize::small : GemmSize::large;
  const uint32_t row_blocks = tiles_for(args.weight.rows, kGemmRows);
  args.token_tile = dense_token_tile(gemm_tokens(args.weight.format, size), row_blocks,
                                     args.num_tokens, size == GemmSize::small ? 2 : 1);
  const Kernel small = is_codes ? kernels_.gemm_codes_small : kernels_.gemm_halves_small;
  const Kernel large = is_codes ? kernels_.gemm_codes : kernels_.gemm_halves;
  launch(size == GemmSize::small ? small : large,
         {.grid_x = row_blocks,
          .grid_y = tiles_for(args.num_tokens, args.token_tile),
          .threads = kGemmThreads,
          .shared_bytes = gemm_shared(args.weight.format, size)},
         args);
}

uint32_t GpuKernels::gemm_token_tile(TileFormat format, uint32_t num_pairs,
                                     uint32_t num_experts) const {
  const bool is_small =
      format == TileFormat::codes && num_pairs <= tuning_.small_experts_gemm_pairs * num_experts;
  const uint32_t most = gemm_tokens(format, is_small ? GemmSize::small : GemmSize::large);
  return num_pairs <= tuning_.narrow_experts_gemm_pairs * num_experts ? std::min(most, 64u) : most;
}

template <class Args>
void GpuKernels::launch_experts_gemm(const ExpertGemm& of, const PackedMatrix& weight,
                                     uint32_t rows_of_block, const Args& args, uint32_t num_pairs,
                                     ExpertCount experts) {
  const bool is_codes = weight.format == TileFormat::codes;
  const GemmSize size =
      is_codes && args.tiles.token_tile <= gemm_tokens(weight.format, GemmSize::small)
          ? GemmSize::small
          : GemmSize::large;
  launch(!is_codes                 ? of.halves
         : size == GemmSize::small ? of.codes_small
                                   : of.codes,
         {.grid_x = tiles_for(weight.rows, rows_of_block),
          .grid_y = max_token_tiles(num_pairs, experts.here, args.tiles.token_tile),
          .threads = kGemmThreads,
          .shared_bytes = gemm_shared(weight.format, size)},
         args, num_pairs, experts);
}

void GpuKernels::experts_up_gemm(const ExpertsUpGemmArgs& args, uint32_t num_pairs,
                                 ExpertCount experts) {
  launch_experts_gemm({.codes = kernels_.experts_up_gemm_codes,
                       .codes_small = kernels_.experts_up_gemm_codes_small,
                       .halves = kernels_.experts_up_gemm_halves},
                      args.w1, kGemmUpRows, args, num_pairs, experts);
}

void GpuKernels::experts_down_gemm(const ExpertsDownGemmArgs& args, uint32_t num_pairs,
                                   ExpertCount experts) {
  launch_experts_gemm({.codes = kernels_.experts_down_gemm_codes,
                       .codes_small = kernels_.experts_down_gemm_codes_small,
                       .halves = kernels_.experts_down_gemm_halves},
                      args.w2, kGemmRows, args, num_pairs, experts);
}

}  // namespace tetrad::gpu
