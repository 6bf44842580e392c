#pragma once

// Adds up what gemm_segments, segment_product or segment_staged left, a segment after the other:
// what a block that takes all columns does as it goes on.

#include "kernels/gpu/packed_matrix.h"
#include "kernels/gpu/square_sums.h"

namespace tetrad::gpu {

/// Segments that a product by segments may have: a thread asks for all of them at once.
inline constexpr uint32_t kMaxGemmSegments = 8;
inline constexpr uint32_t kAddThreads = 256;

/// out[t] = scale * sum over segments, or that added to it. Grid: (rows / 4 / kAddThreads rounded
/// up, T).
struct AddSegmentsArgs {
  const float* partial = nullptr;  // [num_segments, T, rows]
  uint32_t num_segments = 0;       // 2 to kMaxGemmSegments
  uint32_t num_tokens = 0;
  uint32_t rows = 0;  // a multiple of kTileRows
  float scale = 1;
  float* out = nullptr;     // [T, out_stride]
  uint32_t out_stride = 0;  // a multiple of 4
  uint32_t add = 0;
  // Where wanted, [T, rows / 16]: the sums of the squares of each 16 of W x (qk_norm_rope.h).
  float* square_sums = nullptr;
};

namespace TETRAD_MACHINE {

/// The sum of four rows' segments, of which there are at most kMost: every load is made, so that
/// none waits for another.
template <uint32_t kMost>
TETRAD_DEVICE void add_up_segments(const AddSegmentsArgs& args, uint64_t at, float (&sums)[4]) {
  const uint64_t step = static_cast<uint64_t>(args.num_tokens) * args.rows;
  Words4 parts[kMost];
  TETRAD_UNROLL
  for (uint32_t s = 0; s < kMost; ++s)
    parts[s] = *reinterpret_cast<const Words4*>(args.partial + at +
                                                (s < args.num_segments ? s : 0) * step);
  TETRAD_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    sums[i] = __builtin_bit_cast(float, parts[0].word[i]);
    TETRAD_UNROLL
    for (uint32_t s = 1; s < kMost; ++s) {
      const float sum = sums[i] + __builtin_bit_cast(float, parts[s].word[i]);
      sums[i] = s < args.num_segments ? sum : sums[i];
    }
  }
}

TETRAD_KERNEL(add_segments, AddSegmentsArgs, 256) {
  const uint32_t wanted = (block_x() * kAddThreads + thread_index()) * 4;
  const bool is_there = wanted < args.rows;
  const uint32_t row = is_there ? wanted : 0;
  const uint64_t token = block_y();
  wait_for_launches_before();
  let_next_launch_begin();
  auto* out = reinterpret_cast<Words4*>(args.out + token * args.out_stride + row);
  Words4 before = {};
  if (args.add != 0) before = *out;
  float sums[4];
  if (args.num_segments <= 4) {
    add_up_segments<4>(args, token * args.rows + row, sums);
  } else {
    add_up_segments<kMaxGemmSegments>(args, token * args.rows + row, sums);
  }
  Words4 product;
  Words4 result;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    const float value = sums[i] * args.scale;
    product.word[i] = __builtin_bit_cast(uint32_t, value);
    const float added = __builtin_bit_cast(float, before.word[i]) + value;
    result.word[i] = __builtin_bit_cast(uint32_t, args.add != 0 ? added : value);
  }
  if (args.square_sums != nullptr) {
    const float sum = square_sum_of_4_lanes(product);
    if (is_there && lane() % 4 == 0)
      args.square_sums[(token * args.rows + row) / kSquareColumns] = sum;
  }
  if (is_there) *out = result;
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
