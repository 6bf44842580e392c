#include "kernels/cpu/limit_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/limit_loops.h"

namespace tetrad {
namespace {

/// Without an instruction for it: products to 16, then to 32 bits, which are added.
struct Int8Avx512 {
  static constexpr int64_t kRowsA = 4;
  static constexpr int64_t kRowsB = 2;
  static constexpr int64_t kBytes = 64;
  using A = __m512i;
  using B = __m512i;
  using Acc = __m512i;

  static void load(const unsigned char* p, A& a) { __builtin_memcpy(&a, p, sizeof a); }
  static void hide(B& b) { asm volatile("" : "+v"(b)); }
  static void step(Acc& sum, const A& a, const B& b) {
    const __m512i pairs = _mm512_maddubs_epi16(a, b);
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  static double total(const Acc& sum) { return lane_total<int32_t>(sum); }
};

/// Without an instruction for it: `a` is float32 already, as activations are, `b` becomes so.
struct Bf16Avx512 {
  static constexpr int64_t kRowsA = 4;
  static constexpr int64_t kRowsB = 2;
  static constexpr int64_t kBytes = 64;
  struct A {
    __m512 even, odd;
  };
  using B = __m512i;
  using Acc = A;

  static void widen(const B& bits, A& floats) {
    floats.even = _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
    floats.odd = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(~0xFFFF)));
  }
  static void load(const unsigned char* p, B& b) { __builtin_memcpy(&b, p, sizeof b); }
  static void load(const unsigned char* p, A& a) {
    B bits;
    load(p, bits);
    widen(bits, a);
  }
  static void hide(B& b) { asm volatile("" : "+v"(b)); }
  static void step(Acc& sum, const A& a, const B& b) {
    A wide;
    widen(b, wide);
    sum.even = _mm512_fmadd_ps(a.even, wide.even, sum.even);
    sum.odd = _mm512_fmadd_ps(a.odd, wide.odd, sum.odd);
  }
  static double total(const Acc& sum) {
    return lane_total<float>(sum.even) + lane_total<float>(sum.odd);
  }
};

struct F32Avx512 {
  static constexpr int64_t kRowsA = 4;
  static constexpr int64_t kRowsB = 4;
  static constexpr int64_t kBytes = 64;
  using A = __m512;
  using B = __m512;
  using Acc = __m512;

  static void load(const unsigned char* p, A& a) { __builtin_memcpy(&a, p, sizeof a); }
  static void hide(B& b) { asm volatile("" : "+v"(b)); }
  static void step(Acc& sum, const A& a, const B& b) { sum = _mm512_fmadd_ps(a, b, sum); }
  static double total(const Acc& sum) { return lane_total<float>(sum); }
};

uint64_t look_up_avx512(const unsigned char* table, const unsigned char* indices, int64_t n,
                        int64_t repeats) {
  constexpr int kSums = 8;
  const __m512i levels =
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  __m512i sums[kSums] = {};
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    asm volatile("" : "+r"(indices) : : "memory");
    for (int64_t i = 0; i < n; i += kSums * 64) {
#pragma GCC unroll 8
      for (int k = 0; k < kSums; ++k) {
        const __m512i at = _mm512_loadu_si512((indices + i + k * 64));
        sums[k] = _mm512_xor_si512(sums[k], _mm512_shuffle_epi8(levels, at));
      }
    }
  }
  for (int k = 1; k < kSums; ++k)
    sums[0] = _mm512_xor_si512(sums[0], sums[k]);
  ReadLine folded = {};
  __builtin_memcpy(&folded, &sums[0], sizeof sums[0]);
  return fold_words(folded);
}

}  // namespace

const LimitKernels* limit_kernels_avx512() {
  static constexpr LimitKernels kKernels = {.isa = "avx512",
                                            .read = read_streams,
                                            .look_up = look_up_avx512,
                                            .int8 = product_kernel<Int8Avx512>("avx512"),
                                            .bf16 = product_kernel<Bf16Avx512>("avx512"),
                                            .f32 = product_kernel<F32Avx512>("avx512")};
  return &kKernels;
}

}  // namespace tetrad

#else

namespace tetrad {

const LimitKernels* limit_kernels_avx512() {
  return nullptr;
}

}  // namespace tetrad

#endif
