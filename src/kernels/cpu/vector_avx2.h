#pragma once

#include <immintrin.h>

#include "kernels/cpu/simd_kernels.h"

namespace tetrad {

/// 16 floats in two registers. Needs AVX2, FMA and F16C (Haswell, Zen).
/// vector_generic.h says what each function means.
struct Avx2 {
  struct Reg {
    __m256 lo;  // lanes 0-7
    __m256 hi;  // lanes 8-15
  };

  /// 16 registers: 6 sums take 12.
  static constexpr int kSums = 6;
  static constexpr int kTileTokens = 3;
  static constexpr int kMaxTileRows = 4;
  static constexpr int kHeadVectors = 1;
  static constexpr int kProductQueries = 3;
  static constexpr int kProductVectors = 2;

  static Reg zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Reg set(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  static Reg load(const void* p) {
    const auto* floats = static_cast<const float*>(p);
    return {_mm256_loadu_ps(floats), _mm256_loadu_ps(floats + 8)};
  }
  static void store(float* p, Reg a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
  }

  static Reg add(Reg a, Reg b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static Reg sub(Reg a, Reg b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  static Reg mul(Reg a, Reg b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  static Reg div(Reg a, Reg b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static Reg fma(Reg a, Reg b, Reg c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  static Reg max(Reg a, Reg b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static Reg min(Reg a, Reg b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static Reg shift_left_23(Reg a) {
    return {as_float(_mm256_slli_epi32(as_int(a.lo), 23)),
            as_float(_mm256_slli_epi32(as_int(a.hi), 23))};
  }
  static Reg add_bits(Reg a, Reg b) {
    return {as_float(_mm256_add_epi32(as_int(a.lo), as_int(b.lo))),
            as_float(_mm256_add_epi32(as_int(a.hi), as_int(b.hi)))};
  }
  static Reg zero_where_less(Reg a, Reg b, Reg value) {
    return {_mm256_and_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_NLT_UQ), value.lo),
            _mm256_and_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_NLT_UQ), value.hi)};
  }

  static Reg widen_bf16(const void* p) {
    const auto* halves = static_cast<const __m128i*>(p);
    return {bf16_to_float8(_mm_loadu_si128(halves)), bf16_to_float8(_mm_loadu_si128(halves + 1))};
  }
  static Reg widen_f16(const void* p) {
    const auto* halves = static_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
  }
  /// See Avx512::widen_e4m3.
  static Reg widen_e4m3(const void* p) {
    const __m128i bytes = _mm_loadu_si128(static_cast<const __m128i*>(p));
    const __m256i shifted = _mm256_slli_epi16(_mm256_cvtepi8_epi16(bytes), 7);
    const __m256i halves = _mm256_and_si256(shifted, _mm256_set1_epi16(static_cast<short>(0xBF80)));
    const __m128i magnitude = _mm_set1_epi8(0x7F);
    const __m128i is_nan = _mm_cmpeq_epi8(_mm_and_si128(bytes, magnitude), magnitude);
    return {e4m3_value(_mm256_castsi256_si128(halves), is_nan),
            e4m3_value(_mm256_extracti128_si256(halves, 1), _mm_srli_si128(is_nan, 8))};
  }

  using Levels = __m128i;
  static Levels levels(const signed char* codebook) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(codebook));
  }
  static Reg look_up(const void* codes, Levels levels) {
    const __m128i pairs = _mm_loadl_epi64(static_cast<const __m128i*>(codes));
    const __m128i low = _mm_and_si128(pairs, _mm_set1_epi8(15));
    const __m128i high = _mm_and_si128(_mm_srli_epi16(pairs, 4), _mm_set1_epi8(15));
    const __m128i values = _mm_shuffle_epi8(levels, _mm_unpacklo_epi8(low, high));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(values)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(values, 8)))};
  }

  static void transpose(Reg (&rows)[kLanes]) {
    for (int64_t i = 0; i < 8; ++i) {
      const __m256 upper_right = rows[i].hi;
      rows[i].hi = rows[i + 8].lo;
      rows[i + 8].lo = upper_right;
    }
    for (int64_t i = 0; i < kLanes; i += 8) {
      __m256 lo[8], hi[8];
      for (int64_t j = 0; j < 8; ++j) {
        lo[j] = rows[i + j].lo;
        hi[j] = rows[i + j].hi;
      }
      transpose8(lo);
      transpose8(hi);
      for (int64_t j = 0; j < 8; ++j)
        rows[i + j] = {lo[j], hi[j]};
    }
  }

  static float max_of_lanes(Reg a) {
    const __m256 by8 = _mm256_max_ps(a.lo, a.hi);
    const __m128 by4 = _mm_max_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    const __m128 by2 = _mm_max_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_max_ss(by2, _mm_movehdup_ps(by2)));
  }

  static float sum_of_lanes(Reg a) {
    const __m256 by8 = _mm256_add_ps(a.lo, a.hi);
    const __m128 by4 = _mm_add_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    const __m128 by2 = _mm_add_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_add_ss(by2, _mm_movehdup_ps(by2)));
  }
  static void sums_of_lanes(Reg a, Reg b, Reg c, Reg d, float* out) {
    out[0] = sum_of_lanes(a);
    out[1] = sum_of_lanes(b);
    out[2] = sum_of_lanes(c);
    out[3] = sum_of_lanes(d);
  }

 private:
  static void transpose8(__m256 (&rows)[8]) {
    __m256 pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      for (int half = 0; half < 2; ++half) {
        const __m256 a = pairs[i + half];
        const __m256 b = pairs[i + half + 2];
        quads[i + 2 * half] = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0));
        quads[i + 2 * half + 1] = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2));
      }
    }
    for (int i = 0; i < 4; ++i) {
      rows[i] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20);
      rows[i + 4] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31);
    }
  }
  static __m256i as_int(__m256 a) { return _mm256_castps_si256(a); }
  static __m256 as_float(__m256i a) { return _mm256_castsi256_ps(a); }
  static __m256 bf16_to_float8(__m128i halves) {
    return as_float(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
  /// Eight binary16 numbers times 256; all bits set, a NaN, where the byte of is_nan is.
  static __m256 e4m3_value(__m128i halves, __m128i is_nan) {
    const __m256 value = _mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(256.0f));
    return _mm256_or_ps(value, as_float(_mm256_cvtepi8_epi32(is_nan)));
  }
};

}  // namespace tetrad
