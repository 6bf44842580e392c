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

bool GpuKernels::is_fed(TileFormat format, GemmSize size) const {
  return has_warpgroups_ && format == TileFormat::codes && size == GemmSize::large;
}

std::span<const uint32_t> GpuKernels::gemm_tiles(TileFormat format, GemmSize size) const {
  static constexpr uint32_t kOfFed[] = {32, 64, 80, 96, 112, 128};
  static constexpr uint32_t kOfSegment[] = {16, 32, 48, 64};
  static constexpr uint32_t kOfBlock[] = {16, 32, 64, 80, 96, 128};
  if (is_fed(format, size)) return kOfFed;
  const std::span<const uint32_t> tiles =
      size == GemmSize::segment ? std::span<const uint32_t>(kOfSegment) : kOfBlock;
  return tiles.first(static_cast<size_t>(
      std::ranges::upper_bound(tiles, gemm_tokens(format, size)) - tiles.begin()));
}

uint32_t GpuKernels::dense_token_tile(TileFormat format, GemmSize size, uint32_t blocks_of_tile,
                                      uint32_t num_tokens) const {
  const uint32_t at_once = num_multiprocessors_ * (size == GemmSize::small ? 2 : 1);
  uint32_t best = 16;
  uint64_t least = ~uint64_t{0};
  for (const uint32_t tile : gemm_tiles(format, size)) {
    const uint64_t rounds = tiles_for(blocks_of_tile * tiles_for(num_tokens, tile), at_once);
    const uint64_t time = rounds * (tile + tuning_.gemm_block_tokens);
    if (time <= least) {
      best = tile;
      least = time;
    }
  }
  return best;
}

void GpuKernels::product(const GemmArgs& args, float* square_sums) {
  if (takes_few_by_segments(args)) return gemm_by_segments(args, square_sums);
  if (args.num_tokens > max_decode_tokens(args.weight.cols)) return gemm(args, square_sums);
  DecodeProductArgs few{.weight = args.weight,
                        .halves = args.x,
                        .halves_stride = args.x_stride,
                        .num_tokens = args.num_tokens,
                        .out = args.out,
                        .out_stride = args.out_stride,
                        .square_sums = square_sums,
                        .add = args.add};
  std::ranges::copy(args.codebook, few.codebook);
  decode_product(few);
}

void GpuKernels::gemm(GemmArgs args, float* square_sums) {
  const bool is_codes = args.weight.format == TileFormat::codes;
  const GemmSize size =
      args.num_tokens <= tuning_.small_gemm_tokens ? GemmSize::small : GemmSize::large;
  const uint32_t row_blocks = tiles_for(args.weight.rows, kGemmRows);
  args.token_tile = dense_token_tile(args.weight.format, size, row_blocks, args.num_tokens);
  // Blocks that take all columns would leave multiprocessors idle.
  const bool are_few =
      row_blocks * tiles_for(args.num_tokens, args.token_tile) < num_multiprocessors_;
  if (are_few && takes_segments(args)) return gemm_by_segments(args, square_sums);
  if (is_fed(args.weight.format, size)) {
    launch_fed<DenseFedShape>(kernels_.gemm_codes_fed, kernels_.gemm_codes_fed_wide,
                              args.token_tile,
                              row_blocks * tiles_for(args.num_tokens, args.token_tile), args);
    return add_squares(args, square_sums);
  }
  const Kernel small = is_codes ? kernels_.gemm_codes_small : kernels_.gemm_halves_small;
  const Kernel large = is_codes ? kernels_.gemm_codes : kernels_.gemm_halves;
  launch(size == GemmSize::small ? small : large,
         {.grid_x = row_blocks,
          .grid_y = tiles_for(args.num_tokens, args.token_tile),
          .threads = kGemmThreads,
          .shared_bytes = gemm_shared(args.weight.format, size)},
         args);
  add_squares(args, square_sums);
}

void GpuKernels::add_squares(const GemmArgs& args, float* sums) {
  if (sums == nullptr) return;
  square_sums({.x = args.out, .cols = args.weight.rows, .sums = sums}, args.num_tokens);
}

bool GpuKernels::takes_few_by_segments(const GemmArgs& args) const {
  return args.num_tokens >= tuning_.segment_product_tokens &&
         args.num_tokens <= fragment_tokens() && takes_segments(args) &&
         takes_segment_product(args);
}

uint32_t GpuKernels::segment_product_shared(uint32_t num_tokens) const {
  return by_fragment([&]<class F>() { return segment_product_shared_bytes<F>(num_tokens); });
}

/// Blocks of a segment of the columns whose warps take a tile of rows each.
static uint32_t segment_blocks(const PackedMatrix& weight) {
  return tiles_for(weight.rows, kDecodeWarps * kTileRows) * tiles_for(weight.cols, kSegmentColumns);
}

bool GpuKernels::takes_segment_product(const GemmArgs& args) const {
  const uint32_t token_tiles = args.weight.format == TileFormat::codes ? 2 : 1;
  return args.num_tokens <= token_tiles * fragment_tokens() &&
         segment_product_shared(args.num_tokens) <= shared_bytes_ &&
         segment_blocks(args.weight) <= num_multiprocessors_ * kSegmentProductBlocks;
}

uint32_t GpuKernels::segment_staged_tiles(const GemmArgs& args) const {
  if (!has_warpgroups_ || args.weight.format != TileFormat::codes ||
      segment_blocks(args.weight) > num_multiprocessors_ * kSegmentProductBlocks)
    return 0;
  const auto time = [&](uint32_t token_tiles) {
    return tiles_for(args.num_tokens, token_tiles * fragment_tokens()) * (token_tiles + 1);
  };
  return *std::ranges::min_element(kStagedTokenTiles, {}, time);
}

bool GpuKernels::takes_segments(const GemmArgs& args) {
  const uint32_t num_segments = tiles_for(args.weight.cols, kSegmentColumns);
  return args.partial != nullptr && args.num_tokens <= kMaxSegmentGemmTokens && num_segments > 1 &&
         num_segments <= kMaxGemmSegments && args.weight.rows % kTileRows == 0 &&
         args.out_stride % 4 == 0;
}

void GpuKernels::gemm_by_segments(GemmArgs args, float* square_sums) {
  const uint32_t num_segments = tiles_for(args.weight.cols, kSegmentColumns);
  const AddSegmentsArgs sum{.partial = args.partial,
                            .num_segments = num_segments,
                            .num_tokens = args.num_tokens,
                            .rows = args.weight.rows,
                            .scale = args.weight.scale,
                            .out = args.out,
                            .out_stride = args.out_stride,
                            .add = args.add,
                            .square_sums = square_sums};
  args.add = 0;
  const bool is_codes = args.weight.format == TileFormat::codes;
  if (takes_segment_product(args)) {
    const bool is_one_tile = args.num_tokens <= fragment_tokens();
    launch(!is_codes     ? kernels_.segment_product_halves
           : is_one_tile ? kernels_.segment_product_codes
                         : kernels_.segment_product_two_codes,
           {.grid_x = tiles_for(args.weight.rows, kDecodeWarps * kTileRows),
            .grid_y = num_segments,
            .threads = kDecodeThreads,
            .shared_bytes = segment_product_shared(args.num_tokens)},
           args);
  } else if (const uint32_t token_tiles = segment_staged_tiles(args); token_tiles > 0) {
    launch(
        token_tiles == 4 ? kernels_.segment_staged_four_codes : kernels_.segment_staged_six_codes,
        {.grid_x = tiles_for(args.weight.rows, kDecodeWarps * kTileRows),
         .grid_y = num_segments,
         .grid_z = tiles_for(args.num_tokens, token_tiles * fragment_tokens()),
         .threads = kDecodeThreads,
         .shared_bytes = segment_staged_shared_bytes(token_tiles)},
        args);
  } else {
    const uint32_t row_blocks = tiles_for(args.weight.rows, kGemmRows);
    args.token_tile = dense_token_tile(args.weight.format, GemmSize::segment,
                                       row_blocks * num_segments, args.num_tokens);
    launch(is_codes ? kernels_.gemm_segments_codes : kernels_.gemm_segments_halves,
           {.grid_x = row_blocks,
            .grid_y = tiles_for(args.num_tokens, args.token_tile),
            .grid_z = num_segments,
            .threads = kGemmThreads,
            .shared_bytes = gemm_shared(args.weight.format, GemmSize::segment)},
           args);
  }
  launch(kernels_.add_segments,
         {.grid_x = tiles_for(args.weight.rows / 4, kAddThreads),
          .grid_y = args.num_tokens,
          .threads = kAddThreads},
         sum);
}

/// Pairs an expert in the mean up to which the experts' tiles are those of ExpertsFedShape.
static constexpr uint32_t kMostNarrowFedPairs = 72;

TokenTiles GpuKernels::expert_tiles(TileFormat format, uint32_t num_pairs,
                                    uint32_t num_experts) const {
  const bool is_small =
      format == TileFormat::codes && num_pairs <= tuning_.small_experts_gemm_pairs * num_experts;
  const GemmSize size = is_small ? GemmSize::small : GemmSize::large;
  if (is_fed(format, size)) {
    const bool are_narrow = num_pairs <= kMostNarrowFedPairs * num_experts;
    return {.token_tile = are_narrow ? ExpertsFedShape::kTokens : WideFedShape::kTokens,
            .are_even = 1};
  }
  const uint32_t most = gemm_tokens(format, size);
  const bool are_narrow = num_pairs <= tuning_.narrow_experts_gemm_pairs * num_experts;
  return {.token_tile = are_narrow ? std::min(most, 64u) : most};
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
  if (is_fed(weight.format, size))
    return launch_fed<ExpertsFedShape>(
        of.codes_fed, of.codes_fed_wide, args.tiles.token_tile,
        tiles_for(weight.rows, rows_of_block) *
            max_token_tiles(num_pairs, experts.here, args.tiles.token_tile),
        args, num_pairs, experts);
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
                       .codes_fed = kernels_.experts_up_gemm_codes_fed,
                       .codes_fed_wide = kernels_.experts_up_gemm_codes_fed_wide,
                       .codes_small = kernels_.experts_up_gemm_codes_small,
                       .halves = kernels_.experts_up_gemm_halves},
                      args.w1, kGemmUpRows, args, num_pairs, experts);
}

void GpuKernels::experts_down_gemm(const ExpertsDownGemmArgs& args, uint32_t num_pairs,
                                   ExpertCount experts) {
  launch_experts_gemm({.codes = kernels_.experts_down_gemm_codes,
                       .codes_fed = kernels_.experts_down_gemm_codes_fed,
                       .codes_fed_wide = kernels_.experts_down_gemm_codes_fed_wide,
                       .codes_small = kernels_.experts_down_gemm_codes_small,
                       .halves = kernels_.experts_down_gemm_halves},
                      args.w2, kGemmRows, args, num_pairs, experts);
}

}  // namespace tetrad::gpu
