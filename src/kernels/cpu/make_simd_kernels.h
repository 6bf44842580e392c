#pragma once

#include "kernels/cpu/attend.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/matmul.h"

namespace tetrad {

template <class V>
constexpr SimdKernels make_simd_kernels(const char* isa) {
  return {.isa = isa,
          .matmul_f32 = matmul<V, DenseRow<V, F32Element<V>>>,
          .matmul_f16 = matmul<V, DenseRow<V, F16Element<V>>>,
          .matmul_bf16 = matmul<V, DenseRow<V, Bf16Element<V>>>,
          .matmul_mxfp4_16 = matmul<V, Mxfp4Row<V>>,
          .matmul_fp8_block = matmul<V, Fp8BlockRow<V>>,
          .rms_norm = rms_norm<V>,
          .add = add<V>,
          .silu_multiply = silu_multiply<V>,
          .weighted_sum = weighted_sum<V>,
          .attend = attend<V>};
}

}  // namespace tetrad
