#include "kernels/cpu/any_matmul.h"

#include <algorithm>
#include <vector>

namespace tetrad {
namespace {

/// Rows of a format without an inner loop of its own that are expanded at a time: a multiple of the
/// rows that any matmul takes together, few enough to stay in the L2 cache.
constexpr int64_t kExpandedRows = 16;

const unsigned char* weight_bytes(const std::byte* data) {
  return reinterpret_cast<const unsigned char*>(data);
}

MatrixRows to_rows(const WeightMatrix& weight) {
  MatrixRows rows{.data = weight_bytes(weight.data),
                  .scales = weight_bytes(weight.scales),
                  .codebook = weight.codebook.data(),
                  .cols = weight.cols,
                  .row_bytes = weight.row_bytes()};
  if (weight.format == WeightFormat::mxfp4_16) {
    rows.scale_row_bytes = weight.cols / kMxfp4GroupSize * 2;
  } else if (weight.format == WeightFormat::fp8_block) {
    rows.scale_row_bytes = (weight.cols + kFp8BlockSize - 1) / kFp8BlockSize * 4;
    rows.rows_per_scale_row = kFp8BlockSize;
  }
  return rows;
}

/// Null for the formats of other programs, which have no inner loop of their own.
SimdKernels::MatMul matmul_of(const SimdKernels& simd, WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return simd.matmul_f32;
    case WeightFormat::f16:
      return simd.matmul_f16;
    case WeightFormat::bf16:
      return simd.matmul_bf16;
    case WeightFormat::mxfp4_16:
      return simd.matmul_mxfp4_16;
    case WeightFormat::fp8_block:
      return simd.matmul_fp8_block;
    case WeightFormat::codebook4:
    case WeightFormat::fp8:
    case WeightFormat::int4:
    case WeightFormat::int8:
    case WeightFormat::mxfp4:
    case WeightFormat::nvfp4:
      break;
  }
  return nullptr;
}

}  // namespace

void AnyMatMul::multiply(const WeightMatrix& weight, Share rows, const MatMulRows& x,
                         int64_t num_tokens, float* out, int64_t out_stride, Next next) const {
  if (takes_int8(weight)) {
    MatrixRows matrix = to_rows(weight);
    if (next.weight != nullptr) {
      const MatrixRows after = to_rows(*next.weight);
      matrix.next_data = after.data + next.row * after.row_bytes;
      matrix.next_scales = after.scales + next.row * after.scale_row_bytes;
    }
    simd_->matmul_mxfp4_int8(matrix, rows.begin, rows.end, x.int8, num_tokens, out - rows.begin,
                             out_stride);
  } else if (const auto matmul = matmul_of(*simd_, weight.format); matmul != nullptr) {
    matmul(to_rows(weight), rows.begin, rows.end, x.f32, num_tokens, out - rows.begin, out_stride);
  } else {
    multiply_expanded(weight, rows, x.f32, num_tokens, out, out_stride);
  }
}

/// A few rows at a time become floats. Each output is the same chain of sums as of an F32 matrix,
/// so neither the number of tokens nor where a block of rows begins is seen in its bits.
void AnyMatMul::multiply_expanded(const WeightMatrix& weight, Share rows, const float* const* x,
                                  int64_t num_tokens, float* out, int64_t out_stride) const {
  const auto cols = static_cast<size_t>(weight.cols);
  std::vector<float> expanded(static_cast<size_t>(kExpandedRows) * cols);
  const MatrixRows matrix{.data = reinterpret_cast<const unsigned char*>(expanded.data()),
                          .cols = weight.cols,
                          .row_bytes = weight.cols * int64_t{sizeof(float)}};
  for (int64_t first = rows.begin; first < rows.end; first += kExpandedRows) {
    const int64_t count = std::min(kExpandedRows, rows.end - first);
    for (int64_t i = 0; i < count; ++i) {
      dequantize_row(weight, first + i,
                     std::span(expanded).subspan(static_cast<size_t>(i) * cols, cols));
    }
    simd_->matmul_f32(matrix, 0, count, x, num_tokens, out + (first - rows.begin), out_stride);
  }
}

}  // namespace tetrad
