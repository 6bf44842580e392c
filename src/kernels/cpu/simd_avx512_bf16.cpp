#include "kernels/cpu/simd_kernels.h"

#if defined(__x86_64__)

#include "kernels/cpu/attend_e4m3.h"
#include "kernels/cpu/bf16_dot.h"

namespace tetrad {

const E4m3Attention* e4m3_attention_avx512_bf16() {
  static constexpr E4m3Attention kKernels = make_e4m3_attention<Bf16Dot>();
  return &kKernels;
}

}  // namespace tetrad

#else

namespace tetrad {

const E4m3Attention* e4m3_attention_avx512_bf16() {
  return nullptr;
}

}  // namespace tetrad

#endif
