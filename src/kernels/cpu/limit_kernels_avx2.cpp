#include "kernels/cpu/limit_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/limit_loops.h"

namespace tetrad {
namespace {

/// Without an instruction for it: products to 16, then to 32 bits, which are added.
struct Int8Avx2 {
  static constexpr int64_t kRowsA = 4;
  static constexpr int64_t kRowsB = 2;
  static constexpr int64_t kBytes = 32;
  using A = __m256i;
  using B = __m256i;
  using Acc = __m256i;

  static void load(const unsigned char* p, A& a) { __builtin_memcpy(&a, p, sizeof a); }
  static void hide(B& b) { asm volatile("" : "+x"(b)); }
  static void step(Acc& sum, const A& a, const B& b) {
    const __m256i pairs = _mm256_maddubs_epi16(a, b);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static double total(const Acc& sum) { return lane_total<int32_t>(sum); }
};

/// Without an instruction for it: `a` is float32 already, as activations are, `b` becomes so.
struct Bf16Avx2 {
  static constexpr int64_t kRowsA = 2;
  static constexpr int64_t kRowsB = 2;
  static constexpr int64_t kBytes = 32;
  struct A {
    __m256 even, odd;
  };
  using B = __m256i;
  using Acc = A;

  static void widen(const B& bits, A& floats) {
    floats.even = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
    floats.odd = _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(~0xFFFF)));
  }
  static void load(const unsigned char* p, B& b) { __builtin_memcpy(&b, p, sizeof b); }
  static void load(const unsigned char* p, A& a) {
    B bits;
    load(p, bits);
    widen(bits, a);
  }
  static void hide(B& b) { asm volatile("" : "+x"(b)); }
  static void step(Acc& sum, const A& a, const B& b) {
    A wide;
    widen(b, wide);
    sum.even = _mm256_fmadd_ps(a.even, wide.even, sum.even);
    sum.odd = _mm256_fmadd_ps(a.odd, wide.odd, sum.odd);
  }
  static double total(const Acc& sum) {
    return lane_total<float>(sum.even) + lane_total<float>(sum.odd);
  }
};

struct F32Avx2 {
  static constexpr int64_t kRowsA = 3;
  static constexpr int64_t kRowsB = 3;
  static constexpr int64_t kBytes = 32;
  using A = __m256;
  using B = __m256;
  using Acc = __m256;

  static void load(const unsigned char* p, A& a) { __builtin_memcpy(&a, p, sizeof a); }
  static void hide(B& b) { asm volatile("" : "+x"(b)); }
  static void step(Acc& sum, const A& a, const B& b) { sum = _mm256_fmadd_ps(a, b, sum); }
  static double total(const Acc& sum) { return lane_total<float>(sum); }
};

uint64_t look_up_avx2(const unsigned char* table, const unsigned char* indices, int64_t n,
                      int64_t repeats) {
  constexpr int kSums = 8;
  const __m256i levels =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  __m256i sums[kSums] = {};
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    asm volatile("" : "+r"(indices) : : "memory");
    for (int64_t i = 0; i < n; i += kSums * 32) {
#pragma GCC unroll 8
      for (int k = 0; k < kSums; ++k) {
        const __m256i at =
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(indices + i + k * 32));
        sums[k] = _mm256_xor_si256(sums[k], _mm256_shuffle_epi8(levels, at));
      }
    }
  }
  for (int k = 1; k < kSums; ++k)
    sums[0] = _mm256_xor_si256(sums[0], sums[k]);
  ReadLine folded = {};
  __builtin_memcpy(&folded, &sums[0], sizeof sums[0]);
  return fold_words(folded);
}

}  // namespace

const LimitKernels* limit_kernels_avx2() {
  static constexpr LimitKernels kKernels = {.isa = "avx2",
                                            .read = read_streams,
                                            .look_up = look_up_avx2,
                                            .int8 = product_kernel<Int8Avx2>("avx2"),
                                            .bf16 = product_kernel<Bf16Avx2>("avx2"),
                                            .f32 = product_kernel<F32Avx2>("avx2")};
  return &kKernels;
}

}  // namespace tetrad

#else

namespace tetrad {

const LimitKernels* limit_kernels_avx2() {
  return nullptr;
}

}  // namespace tetrad

#endif
