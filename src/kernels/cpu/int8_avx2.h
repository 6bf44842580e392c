#pragma once

#include "kernels/cpu/vector_avx2.h"

namespace tetrad {

/// int8_generic.h says what each function means.
struct Avx2WithInt8 : Avx2 {
  static constexpr int kInt8Rows = 1;

  struct Bytes {
    __m256i lo;  // groups 0-7
    __m256i hi;  // groups 8-15
  };
  struct Ints {
    __m256i lo, hi;
  };

  using ByteLevels = __m256i;
  static ByteLevels byte_levels(const signed char* codebook) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codebook)));
  }
  static void look_up_block(const unsigned char* codes, ByteLevels levels, Bytes (&weights)[4]) {
    look_up_half(codes, levels, weights[0].lo, weights[1].lo, weights[2].lo, weights[3].lo);
    look_up_half(codes + 64, levels, weights[0].hi, weights[1].hi, weights[2].hi, weights[3].hi);
  }

  static Ints first_sum(const int32_t* /*offset*/) {
    return {_mm256_setzero_si256(), _mm256_setzero_si256()};
  }
  static Ints dot(Ints sum, Bytes weights, const signed char* activations) {
    const auto* x = reinterpret_cast<const __m256i*>(activations);
    return {_mm256_add_epi32(sum.lo, products(weights.lo, _mm256_load_si256(x))),
            _mm256_add_epi32(sum.hi, products(weights.hi, _mm256_load_si256(x + 1)))};
  }
  static Reg to_float(Ints sum) { return {_mm256_cvtepi32_ps(sum.lo), _mm256_cvtepi32_ps(sum.hi)}; }

  static Reg sums_of_16(const Reg (&a)[16]) {
    float sums[16];
    for (int i = 0; i < 16; i += 4)
      sums_of_lanes(a[i], a[i + 1], a[i + 2], a[i + 3], sums + i);
    return load(sums);
  }

  static int largest_magnitude_bits(Reg x) {
    const __m256i mask = _mm256_set1_epi32(0x7FFFFFFF);
    const __m256i by8 = _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(x.lo), mask),
                                         _mm256_and_si256(_mm256_castps_si256(x.hi), mask));
    __m128i by4 = _mm_max_epi32(_mm256_castsi256_si128(by8), _mm256_extracti128_si256(by8, 1));
    by4 = _mm_max_epi32(by4, _mm_shuffle_epi32(by4, _MM_SHUFFLE(1, 0, 3, 2)));
    by4 = _mm_max_epi32(by4, _mm_shuffle_epi32(by4, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtsi128_si32(by4);
  }
  static int round_group(Reg x, signed char* out) {
    const __m256i low = _mm256_cvtps_epi32(x.lo);
    const __m256i high = _mm256_cvtps_epi32(x.hi);
    // Words 0-3, 8-11, 4-7, 12-15; then the middle two quarters change places.
    const __m256i words =
        _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), _MM_SHUFFLE(3, 1, 2, 0));
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_shuffle_epi8(bytes, order));
    const __m256i by8 = _mm256_add_epi32(low, high);
    __m128i by4 = _mm_add_epi32(_mm256_castsi256_si128(by8), _mm256_extracti128_si256(by8, 1));
    by4 = _mm_add_epi32(by4, _mm_shuffle_epi32(by4, _MM_SHUFFLE(1, 0, 3, 2)));
    by4 = _mm_add_epi32(by4, _mm_shuffle_epi32(by4, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtsi128_si32(by4);
  }

 private:
  /// 128 codes. Shuffling by 64-bit lanes keeps the order of groups.
  static void look_up_half(const unsigned char* codes, __m256i levels, __m256i& even_low,
                           __m256i& odd_low, __m256i& even_high, __m256i& odd_high) {
    const __m256 first = _mm256_loadu_ps(reinterpret_cast<const float*>(codes));
    const __m256 second = _mm256_loadu_ps(reinterpret_cast<const float*>(codes + 32));
    const __m256i low = in_order(_mm256_shuffle_ps(first, second, _MM_SHUFFLE(2, 0, 2, 0)));
    const __m256i high = in_order(_mm256_shuffle_ps(first, second, _MM_SHUFFLE(3, 1, 3, 1)));
    even_low = look_up(low, levels);
    odd_low = look_up(_mm256_srli_epi32(low, 4), levels);
    even_high = look_up(high, levels);
    odd_high = look_up(_mm256_srli_epi32(high, 4), levels);
  }
  static __m256i in_order(__m256 words) {
    return _mm256_permute4x64_epi64(_mm256_castps_si256(words), _MM_SHUFFLE(3, 1, 2, 0));
  }
  static __m256i look_up(__m256i codes, __m256i levels) {
    return _mm256_shuffle_epi8(levels, _mm256_and_si256(codes, _mm256_set1_epi8(15)));
  }
  /// Four products a lane. vpmaddubsw multiplies unsigned by signed and saturates at 16 bits; with
  /// magnitudes on the left no pair exceeds 2 * 128 * 127.
  static __m256i products(__m256i weights, __m256i x) {
    const __m256i pairs =
        _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }
};

}  // namespace tetrad
