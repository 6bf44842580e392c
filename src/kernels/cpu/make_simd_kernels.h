#pragma once

#include "kernels/cpu/attend.h"
#include "kernels/cpu/attend_e4m3.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/float_dot.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/matmul_int8.h"

namespace tetrad {

/// V: vectors of floats; I: the same with what int8 products need.
template <class V, class I>
constexpr SimdKernels make_simd_kernels(const char* isa) {
  return {.isa = isa,
          .matmul_f32 = matmul<V, DenseRow<V, F32Element<V>>>,
          .matmul_f16 = matmul<V, DenseRow<V, F16Element<V>>>,
          .matmul_bf16 = matmul<V, DenseRow<V, Bf16Element<V>>>,
          .matmul_mxfp4_16 = matmul<V, Mxfp4Row<V>>,
          .matmul_fp8_block = matmul<V, Fp8BlockRow<V>>,
          .quantize_int8 = quantize_int8<I>,
          .matmul_mxfp4_int8 = matmul_mxfp4_int8<I>,
          .rms_norm = rms_norm<V>,
          .add = add<V>,
          .silu_multiply = silu_multiply<V>,
          .weighted_sum = weighted_sum<V>,
          .attend = attend<V>,
          .e4m3_attention = make_e4m3_attention<FloatDot<V>>()};
}

}  // namespace tetrad
