#include "kernels/cpu/limit_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/limit_loops.h"

namespace tetrad {
namespace {

struct Bf16Dot {
  static constexpr int64_t kRowsA = 4;
  static constexpr int64_t kRowsB = 4;
  static constexpr int64_t kBytes = 64;
  using A = __m512bh;
  using B = __m512bh;
  using Acc = __m512;

  static void load(const unsigned char* p, A& a) { __builtin_memcpy(&a, p, sizeof a); }
  static void hide(B& b) { asm volatile("" : "+v"(b)); }
  /// Not the intrinsic _mm512_dpbf16_ps: GCC 12 puts two moves around each.
  static void step(Acc& sum, const A& a, const B& b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
  static double total(const Acc& sum) { return lane_total<float>(sum); }
};

}  // namespace

const ProductKernel* limit_bf16_avx512_bf16() {
  static constexpr ProductKernel kKernel = product_kernel<Bf16Dot>("avx512-bf16");
  return &kKernel;
}

}  // namespace tetrad

#else

namespace tetrad {

const ProductKernel* limit_bf16_avx512_bf16() {
  return nullptr;
}

}  // namespace tetrad

#endif
