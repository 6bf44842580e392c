#pragma once

// The norm in front of a product. Decode kernels compute it in every block, which costs less than a
// launch; for many tokens norm_rows writes it to memory. Both add up the squares in one order.

#include "gpu/fragment.h"
#include "kernels/gpu/packed_matrix.h"

namespace tetrad::gpu {

/// What norm_rows does: out[t] = weight * x[t] / sqrt(mean(x[t]^2) + eps), as halves in
/// activation_offset order, zero from `cols` on. A block a row.
struct NormRowsArgs {
  const float* x = nullptr;       // [T, cols]
  const float* weight = nullptr;  // [cols]
  uint16_t* out = nullptr;        // [T, stride]
  uint32_t cols = 0;              // a multiple of 4
  uint32_t stride = 0;            // halves: tiles_for(cols, 64) * 64
  float eps = 0;
};

namespace TETRAD_MACHINE {

inline constexpr uint32_t kNormThreads = 256;

/// Floats a thread keeps of one row: rows are at most kNormThreads * kNormColumns wide.
inline constexpr uint32_t kNormColumns = 12;

TETRAD_DEVICE float inverse_rms(float sum_of_squares, uint32_t cols, float eps) {
  return divide(1.0f, square_root(sum_of_squares / static_cast<float>(cols) + eps));
}

/// What a thread has of a row: columns are dealt out four at a time.
struct NormColumns {
  float value[kNormColumns];

  TETRAD_DEVICE void load(const float* row, uint32_t cols) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kNormColumns / 4; ++i) {
      const uint32_t k = (i * kNormThreads + thread_index()) * 4;
      if (k >= cols) break;
      const Words4 words = *reinterpret_cast<const Words4*>(row + k);
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        value[4 * i + j] = __builtin_bit_cast(float, words.word[j]);
    }
  }
  TETRAD_DEVICE float sum_of_squares(uint32_t cols) const {
    float sum = 0;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kNormColumns / 4; ++i) {
      if ((i * kNormThreads + thread_index()) * 4 >= cols) break;
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): load() fills as many
        sum = fused_multiply_add(value[4 * i + j], value[4 * i + j], sum);
    }
    return sum;
  }
};

/// Norms up to kMaxRows rows of x, all at once: what takes time is waiting for them. `to` gets the
/// elements in fours, by to.store(row, column, values). `weight` is loaded before the launch waits.
/// `scratch`: 8 floats a row, which may be used again after the next sync_block().
template <uint32_t kMaxRows, class Store>
TETRAD_DEVICE void norm_to(const float* x, uint32_t num_rows, const NormColumns& weight,
                           uint32_t cols, float eps, float* scratch, Store to) {
  NormColumns columns[kMaxRows];
  TETRAD_UNROLL
  for (uint32_t row = 0; row < kMaxRows; ++row) {
    if (row < num_rows) columns[row].load(x + static_cast<uint64_t>(row) * cols, cols);
  }
  TETRAD_UNROLL
  for (uint32_t row = 0; row < kMaxRows; ++row) {
    if (row >= num_rows) break;
    const float sum = warp_sum(columns[row].sum_of_squares(cols));
    if (lane() == 0) scratch[row * 8 + warp()] = sum;
  }
  sync_block();
  TETRAD_UNROLL
  for (uint32_t row = 0; row < kMaxRows; ++row) {
    if (row >= num_rows) break;
    float sum = 0;
    TETRAD_UNROLL
    for (uint32_t w = 0; w < kNormThreads / 32; ++w)
      sum += scratch[row * 8 + w];
    const float inverse = inverse_rms(sum, cols, eps);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kNormColumns / 4; ++i) {
      const uint32_t k = (i * kNormThreads + thread_index()) * 4;
      if (k >= cols) break;
      float normed[4];
      TETRAD_UNROLL
      for (uint32_t j = 0; j < 4; ++j)
        normed[j] = columns[row].value[4 * i + j] * inverse * weight.value[4 * i + j];
      to.store(row, k, normed);
    }
  }
}

/// Rows of halves in activation_offset order.
struct StoreHalves {
  uint16_t* rows;
  uint32_t stride;
  TETRAD_DEVICE void store(uint32_t row, uint32_t column, const float (&values)[4]) const {
    uint16_t* to = rows + row * stride;
    *reinterpret_cast<uint32_t*>(to + activation_offset<Fragment>(column)) =
        floats_to_halves(values[0], values[1]);
    *reinterpret_cast<uint32_t*>(to + activation_offset<Fragment>(column + 2)) =
        floats_to_halves(values[2], values[3]);
  }
};

TETRAD_KERNEL(norm_rows, NormRowsArgs, 256) {
  NormColumns weight;
  weight.load(args.weight, args.cols);
  wait_for_launches_before();
  let_next_launch_begin();
  const uint64_t row = block_x();
  uint16_t* out = args.out + row * args.stride;
  norm_to<1>(args.x + row * args.cols, 1, weight, args.cols, args.eps,
             reinterpret_cast<float*>(shared_memory()), StoreHalves{out, 0});
  for (uint32_t k = args.cols + thread_index(); k < args.stride; k += kNormThreads)
    out[activation_offset<Fragment>(k)] = 0;
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
