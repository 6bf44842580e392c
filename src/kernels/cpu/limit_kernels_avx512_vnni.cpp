#include "kernels/cpu/limit_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/limit_loops.h"

namespace tetrad {
namespace {

struct Int8Vnni {
  static constexpr int64_t kRowsA = 4;
  static constexpr int64_t kRowsB = 4;
  static constexpr int64_t kBytes = 64;
  using A = __m512i;
  using B = __m512i;
  using Acc = __m512i;

  static void load(const unsigned char* p, A& a) { __builtin_memcpy(&a, p, sizeof a); }
  static void hide(B& b) { asm volatile("" : "+v"(b)); }
  /// Not the intrinsic _mm512_dpbusd_epi32: GCC 12 puts two moves around each.
  static void step(Acc& sum, const A& a, const B& b) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
  static double total(const Acc& sum) { return lane_total<int32_t>(sum); }
};

}  // namespace

const ProductKernel* limit_int8_avx512_vnni() {
  static constexpr ProductKernel kKernel = product_kernel<Int8Vnni>("avx512-vnni");
  return &kKernel;
}

}  // namespace tetrad

#else

namespace tetrad {

const ProductKernel* limit_int8_avx512_vnni() {
  return nullptr;
}

}  // namespace tetrad

#endif
