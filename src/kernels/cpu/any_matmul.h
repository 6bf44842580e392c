#pragma once

// A matrix of any format times some rows, on one thread.

#include <cstdint>

#include "checkpoint/weight.h"
#include "kernels/cpu/matmul_input.h"
#include "kernels/cpu/shares.h"
#include "kernels/cpu/simd_kernels.h"
#include "kernels/kernels.h"

namespace tetrad {

class AnyMatMul {
 public:
  AnyMatMul(const SimdKernels& simd, ActivationType activations)
      : simd_(&simd), activations_(activations) {}

  /// Whether multiply() wants the weight's input as MatMulRows::int8, or else as f32.
  bool takes_int8(const WeightMatrix& weight) const {
    return activations_ == ActivationType::int8 && weight.format == WeightFormat::mxfp4_16;
  }

  /// What a thread multiplies next: rows of `weight` from `row` on.
  struct Next {
    const WeightMatrix* weight = nullptr;  // null where it is not known
    int64_t row = 0;
  };

  /// out[t * out_stride + n - rows.begin] = W[n] · x[t] for the rows n of W in `rows` and
  /// t < num_tokens. Towards the end the cache is asked for the beginning of `next`.
  void multiply(const WeightMatrix& weight, Share rows, const MatMulRows& x, int64_t num_tokens,
                float* out, int64_t out_stride, Next next) const;

 private:
  void multiply_expanded(const WeightMatrix& weight, Share rows, const float* const* x,
                         int64_t num_tokens, float* out, int64_t out_stride) const;

  const SimdKernels* simd_;
  ActivationType activations_;
};

}  // namespace tetrad
