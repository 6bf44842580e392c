#pragma once

#include <immintrin.h>

#include "kernels/cpu/simd_kernels.h"

namespace tetrad {

/// 16 floats in one register. Needs AVX-512 F, BW, DQ, VL and VBMI (Ice Lake, Zen 4).
/// vector_generic.h says what each function means.
struct Avx512 {
  using Reg = __m512;

  /// 32 registers: 24 sums, and room for a weight and a column of activations.
  static constexpr int kSums = 24;
  static constexpr int kTileTokens = 6;
  static constexpr int kMaxTileRows = 8;
  static constexpr int kHeadVectors = 2;
  static constexpr int kProductQueries = 6;
  static constexpr int kProductVectors = 4;

  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg set(float value) { return _mm512_set1_ps(value); }
  static Reg load(const void* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Reg a) { _mm512_storeu_ps(p, a); }

  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg shift_left_23(Reg a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23));
  }
  static Reg add_bits(Reg a, Reg b) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
  }
  static Reg zero_where_less(Reg a, Reg b, Reg value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), value);
  }

  static Reg widen_bf16(const void* p) {
    const __m256i halves = _mm256_loadu_si256(static_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static Reg widen_f16(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  /// By way of binary16, which has one exponent bit more: the sign moves to bit 15, the rest to
  /// bits 7-13, and the biases differ by 8.
  static Reg widen_e4m3(const void* p) {
    const __m128i bytes = _mm_loadu_si128(static_cast<const __m128i*>(p));
    const __m256i shifted = _mm256_slli_epi16(_mm256_cvtepi8_epi16(bytes), 7);
    const __m256i halves = _mm256_and_si256(shifted, _mm256_set1_epi16(static_cast<short>(0xBF80)));
    const __m512 value = _mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(256.0f));
    const __m128i magnitude = _mm_set1_epi8(0x7F);
    const __mmask16 is_nan = _mm_cmpeq_epi8_mask(_mm_and_si128(bytes, magnitude), magnitude);
    return _mm512_mask_mov_ps(value, is_nan, _mm512_set1_ps(__builtin_nanf("")));
  }

  using Levels = __m512;
  static Levels levels(const signed char* codebook) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codebook))));
  }
  /// Lane i takes the 8 bits from bit 4i of the group on, and the look-up ignores all but four.
  static Reg look_up(const void* codes, Levels levels) {
    long long group = 0;
    __builtin_memcpy(&group, codes, sizeof group);
    const __m512i shifts =
        _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60);
    const __m512i index = _mm512_multishift_epi64_epi8(shifts, _mm512_set1_epi64(group));
    return _mm512_permutexvar_ps(index, levels);
  }

  static void transpose(Reg (&rows)[kLanes]) {
    Reg pairs[kLanes], quads[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
      pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kLanes; i += 4) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const Reg a = pairs[i + half];
        const Reg b = pairs[i + half + 2];
        quads[i + 2 * half] = _mm512_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0));
        quads[i + 2 * half + 1] = _mm512_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2));
      }
    }
    // quads[4i + c], 128-bit lane b: column 4b + c of rows 4i … 4i + 3.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const Reg low01 = _mm512_shuffle_f32x4(quads[c], quads[4 + c], 0x44);
      const Reg high01 = _mm512_shuffle_f32x4(quads[c], quads[4 + c], 0xEE);
      const Reg low23 = _mm512_shuffle_f32x4(quads[8 + c], quads[12 + c], 0x44);
      const Reg high23 = _mm512_shuffle_f32x4(quads[8 + c], quads[12 + c], 0xEE);
      rows[c] = _mm512_shuffle_f32x4(low01, low23, 0x88);
      rows[4 + c] = _mm512_shuffle_f32x4(low01, low23, 0xDD);
      rows[8 + c] = _mm512_shuffle_f32x4(high01, high23, 0x88);
      rows[12 + c] = _mm512_shuffle_f32x4(high01, high23, 0xDD);
    }
  }

  static float max_of_lanes(Reg a) { return _mm512_reduce_max_ps(a); }

  static float sum_of_lanes(Reg a) {
    const __m256 by8 = fold(a);
    const __m128 by4 = _mm_add_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    const __m128 by2 = _mm_add_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_add_ss(by2, _mm_movehdup_ps(by2)));
  }
  static void sums_of_lanes(Reg a, Reg b, Reg c, Reg d, float* out) {
    sums_of_8_lanes(fold(a), fold(b), fold(c), fold(d), out);
  }

 private:
  static __m256 fold(Reg a) {
    return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  }
  static void sums_of_8_lanes(__m256 a, __m256 b, __m256 c, __m256 d, float* out) {
    const __m256 ab =
        _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    const __m256 cd =
        _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    // ab = a0 a1 a2 a3 | b0 b1 b2 b3; pairs two lanes apart, then neighbours.
    const __m256 acbd = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(1, 0, 1, 0)),
                                      _mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 2, 3, 2)));
    const __m128 ac = _mm256_castps256_ps128(acbd);
    const __m128 bd = _mm256_extractf128_ps(acbd, 1);
    const __m128 sums = _mm_add_ps(_mm_shuffle_ps(ac, bd, _MM_SHUFFLE(2, 0, 2, 0)),
                                   _mm_shuffle_ps(ac, bd, _MM_SHUFFLE(3, 1, 3, 1)));
    _mm_storeu_ps(out, _mm_shuffle_ps(sums, sums, _MM_SHUFFLE(3, 1, 2, 0)));
  }
};

}  // namespace tetrad
