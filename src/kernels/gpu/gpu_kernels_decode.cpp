// Products with few tokens, and the experts of few: how much a block takes.

#include <algorithm>

#include "kernels/gpu/gpu_kernels.h"

namespace tetrad::gpu {

uint32_t GpuKernels::max_decode_tokens(uint32_t cols) const {
  uint32_t tokens = std::min(fragment_tokens(), tuning_.max_product_tokens);
  while (tokens > 1 && decode_shared_bytes(cols, tokens) > shared_bytes_)
    --tokens;
  return tokens;
}

uint32_t GpuKernels::decode_shared_bytes(uint32_t cols, uint32_t num_tokens,
                                         uint32_t job_tiles) const {
  return by_fragment(
      [&]<class F>() { return gpu::decode_shared_bytes<F>(cols, num_tokens, job_tiles); });
}

uint32_t GpuKernels::job_tiles(uint32_t per_multiprocessor, uint32_t tiles, uint32_t cols,
                               uint32_t num_tokens, uint32_t more_bytes) const {
  uint32_t taken = std::clamp(tiles_for(tiles, num_multiprocessors_ * per_multiprocessor), 1u,
                              tuning_.max_job_tiles);
  while (taken > 1 && decode_shared_bytes(cols, num_tokens, taken) + more_bytes > shared_bytes_)
    --taken;
  return taken;
}

/// Whether there is a kernel for one token alone: it takes whole segments.
static bool is_one_token(uint32_t num_tokens, uint32_t cols) {
  return num_tokens == 1 && cols % kSegmentColumns == 0;
}

void GpuKernels::decode_product(DecodeProductArgs args) {
  const uint32_t per_block = kDecodeWarps / tiles_for(args.weight.cols, kSegmentColumns);
  const uint32_t tiles = tiles_for(tiles_for(args.weight.rows, kTileRows), per_block);
  args.job_tiles = job_tiles(tuning_.product_blocks, tiles, args.weight.cols, args.num_tokens, 0);
  const bool is_codes = args.weight.format == TileFormat::codes;
  const bool is_one = is_one_token(args.num_tokens, args.weight.cols) &&
                      args.job_tiles * per_block * kTileRows <= kDecodeThreads;
  const Kernel of_one =
      is_codes ? kernels_.decode_product_one_codes : kernels_.decode_product_one_halves;
  const Kernel of_any = is_codes ? kernels_.decode_product_codes : kernels_.decode_product_halves;
  launch(is_one ? of_one : of_any,
         {.grid_x = blocks(tuning_.product_blocks, tiles_for(tiles, args.job_tiles)),
          .threads = kDecodeThreads,
          .shared_bytes = decode_shared_bytes(args.weight.cols, args.num_tokens, args.job_tiles)},
         args);
}

uint32_t GpuKernels::chunk_tokens(uint32_t cols, uint32_t num_tokens, uint32_t more_bytes) const {
  uint32_t tokens = std::min(num_tokens, fragment_tokens());
  while (tokens > 1 && decode_shared_bytes(cols, tokens) + more_bytes > shared_bytes_)
    --tokens;
  return tokens;
}

/// What weights that come by themselves must be (weight_stream.h).
static bool is_codes_in_whole_segments(const PackedMatrix& weight) {
  return weight.format == TileFormat::codes && weight.cols % kSegmentColumns == 0;
}

static bool has_expert_sizes(const PackedMatrix& w1, const PackedMatrix& w3,
                             const PackedMatrix& w2) {
  return w3.rows == w1.rows && w2.cols == w1.rows && w2.rows == w1.cols;
}

bool GpuKernels::fits_experts_stream(const ExpertsStreamArgs& args) const {
  const uint32_t num_pairs = args.choice.num_tokens * args.choice.num_experts_per_tok;
  return !is_gfx12_ && num_pairs <= kMaxStreamedPairs && is_codes_in_whole_segments(args.w1) &&
         is_codes_in_whole_segments(args.w3) && args.w1.rows % kTileRows == 0 &&
         std::max(args.w1.cols, args.w2.cols) <= kMaxStreamedColumns &&
         ExpertsStreamLayout(args.w1.cols, args.w2.cols).end <= shared_bytes_;
}

bool GpuKernels::takes_experts_stream(const ExpertsStreamArgs& args) const {
  return args.choice.num_tokens >= kLeastStreamedTokens && fits_experts_stream(args) &&
         is_codes_in_whole_segments(args.w2) && has_expert_sizes(args.w1, args.w3, args.w2) &&
         args.hidden_stride == args.w1.rows;
}

bool GpuKernels::streams_experts(const ExpertChoice& choice, bool by_themselves) const {
  return tuning_.streams_experts(choice.num_tokens, choice.num_experts_per_tok, choice.num_experts,
                                 by_themselves);
}

void GpuKernels::experts_stream(const ExpertsStreamArgs& args, ExpertCount experts) {
  launch(kernels_.experts_stream,
         {.grid_x = num_multiprocessors_,
          .threads = kStreamThreads,
          .shared_bytes = ExpertsStreamLayout(args.w1.cols, args.w2.cols).end,
          .blocks_meet = true},
         args, experts);
}

void GpuKernels::experts_up(ExpertsUpArgs args, ExpertCount experts) {
  ExpertsStreamArgs stream{.w1 = args.w1,
                           .w3 = args.w3,
                           .up_stride = args.expert_stride,
                           .x = args.x,
                           .x_stride = args.x_stride,
                           .choice = args.choice,
                           .lists = args.lists,
                           .hidden = reinterpret_cast<uint32_t*>(args.hidden),
                           .hidden_stride = args.hidden_stride};
  std::ranges::copy(args.codebook, stream.codebook);
  if (args.choice.num_tokens >= kLeastStreamedUpTokens && fits_experts_stream(stream))
    return experts_stream(stream, experts);
  // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): no matrix is without columns
  const uint32_t per_block = kDecodeWarps / 2 / tiles_for(args.w1.cols, kSegmentColumns);
  const uint32_t tiles = tiles_for(tiles_for(args.w1.rows, kTileRows), per_block);
  const uint32_t num_tokens = args.choice.num_tokens;
  const uint32_t most_experts = num_tokens * args.choice.num_experts_per_tok;
  const uint32_t more_bytes = num_tokens <= kFewTokens ? uint32_t{sizeof(ChoiceMemory)} : 0;
  args.chunk_tokens = chunk_tokens(args.w1.cols, num_tokens, more_bytes);
  args.job_tiles = job_tiles(tuning_.experts_up_blocks, tiles * most_experts, args.w1.cols,
                             args.chunk_tokens, more_bytes);
  const bool is_codes = args.w1.format == TileFormat::codes;
  const Kernel of_one = is_codes ? kernels_.experts_up_one_codes : kernels_.experts_up_one_halves;
  const Kernel of_any = is_codes ? kernels_.experts_up_codes : kernels_.experts_up_halves;
  launch(
      is_one_token(num_tokens, args.w1.cols) ? of_one : of_any,
      {.grid_x = blocks(tuning_.experts_up_blocks, tiles_for(tiles, args.job_tiles) * most_experts),
       .threads = kDecodeThreads,
       .shared_bytes =
           decode_shared_bytes(args.w1.cols, args.chunk_tokens, args.job_tiles) + more_bytes},
      args, experts);
}

void GpuKernels::experts_down(ExpertsDownArgs args, ExpertCount experts) {
  const bool is_codes = args.w2.format == TileFormat::codes;
  // All picks' halves at once, where there is shared memory for them.
  if (args.num_tokens == 1 && args.num_experts_per_tok <= kDecodeWarps &&
      decode_shared_bytes(args.w2.cols, args.num_experts_per_tok) <= shared_bytes_) {
    return launch(is_codes ? kernels_.experts_down_one_codes : kernels_.experts_down_one_halves,
                  {.grid_x = tiles_for(args.w2.rows, kTileRows),
                   .threads = kDecodeThreads,
                   .shared_bytes = decode_shared_bytes(args.w2.cols, args.num_experts_per_tok)},
                  args, experts);
  }
  const uint32_t per_block = kDecodeWarps / tiles_for(args.w2.cols, kSegmentColumns);
  const uint32_t tiles = tiles_for(tiles_for(args.w2.rows, kTileRows), per_block);
  const uint32_t most_experts = args.num_tokens * args.num_experts_per_tok;
  args.chunk_tokens = chunk_tokens(args.w2.cols, args.num_tokens, 0);
  args.job_tiles = job_tiles(tuning_.experts_down_blocks, tiles * most_experts, args.w2.cols,
                             args.chunk_tokens, 0);
  launch(is_codes ? kernels_.experts_down_codes : kernels_.experts_down_halves,
         {.grid_x =
              blocks(tuning_.experts_down_blocks, tiles_for(tiles, args.job_tiles) * most_experts),
          .threads = kDecodeThreads,
          .shared_bytes = decode_shared_bytes(args.w2.cols, args.chunk_tokens, args.job_tiles)},
         args, experts);
}

bool GpuKernels::takes_experts_of_one(const ExpertsOfOneArgs& args) const {
  if (is_gfx12_ || num_multiprocessors_ < 2 || args.choice.num_tokens != 1) return false;
  for (const PackedMatrix& matrix : {args.w1, args.w3, args.w2}) {
    if (!is_codes_in_whole_segments(matrix)) return false;
  }
  if (!has_expert_sizes(args.w1, args.w3, args.w2)) return false;
  const ExpertsOfOneWork work(args.w1, args.w2, num_multiprocessors_);
  return ExpertsOfOneLayout(work, args.choice.num_experts_per_tok).end <= shared_bytes_;
}

void GpuKernels::experts_of_one(const ExpertsOfOneArgs& args, ExpertCount experts) {
  const ExpertsOfOneWork work(args.w1, args.w2, num_multiprocessors_);
  launch(kernels_.experts_of_one,
         {.grid_x = num_multiprocessors_,
          .threads = kStreamThreads,
          .shared_bytes = ExpertsOfOneLayout(work, args.choice.num_experts_per_tok).end,
          .blocks_meet = true},
         args, experts);
}

}  // namespace tetrad::gpu
