#pragma once

#include "kernels/cpu/vector_avx512.h"

namespace tetrad {

/// Needs AVX-512 VNNI too. int8_generic.h says what each function means.
struct Avx512WithInt8 : Avx512 {
  /// 16 registers of weights and 4 of scales leave 12 for a token.
  static constexpr int kInt8Rows = 4;

  using Bytes = __m512i;
  using Ints = __m512i;

  /// vpdpbusd multiplies unsigned by signed: what is looked up is the level + 128, which
  /// Int8Block::offset takes back. vpermb sees the low six bits of an index, so the table stands
  /// there four times, and the bits of the neighbouring code do no harm.
  using ByteLevels = __m512i;
  static ByteLevels byte_levels(const signed char* codebook) {
    const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codebook));
    return _mm512_broadcast_i32x4(_mm_xor_si128(levels, _mm_set1_epi8(-128)));
  }
  static void look_up_block(const unsigned char* codes, ByteLevels levels, Bytes (&weights)[4]) {
    const __m512i first = _mm512_loadu_si512(codes);
    const __m512i second = _mm512_loadu_si512(codes + 64);
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd =
        _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const __m512i low_half = _mm512_permutex2var_epi32(first, even, second);
    const __m512i high_half = _mm512_permutex2var_epi32(first, odd, second);
    weights[0] = _mm512_permutexvar_epi8(low_half, levels);
    weights[1] = _mm512_permutexvar_epi8(_mm512_srli_epi32(low_half, 4), levels);
    weights[2] = _mm512_permutexvar_epi8(high_half, levels);
    weights[3] = _mm512_permutexvar_epi8(_mm512_srli_epi32(high_half, 4), levels);
  }

  static Ints first_sum(const int32_t* offset) { return _mm512_load_si512(offset); }
  /// Not the intrinsic _mm512_dpbusd_epi32: GCC 12 puts two moves around each.
  static Ints dot(Ints sum, Bytes weights, const signed char* activations) {
    const __m512i x = _mm512_load_si512(activations);
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(x));
    return sum;
  }
  static Reg to_float(Ints sum) { return _mm512_cvtepi32_ps(sum); }

  /// Halves the distance of what is added four times, and the number of registers too.
  static Reg sums_of_16(const Reg (&a)[16]) {
    Reg by8[8], by4[4], by2[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      by8[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[i], a[i + 8], 0x44),
                             _mm512_shuffle_f32x4(a[i], a[i + 8], 0xEE));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      by4[i] = _mm512_add_ps(_mm512_shuffle_f32x4(by8[i], by8[i + 4], 0x88),
                             _mm512_shuffle_f32x4(by8[i], by8[i + 4], 0xDD));
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i)
      by2[i] = _mm512_add_ps(_mm512_shuffle_ps(by4[i], by4[i + 2], 0x44),
                             _mm512_shuffle_ps(by4[i], by4[i + 2], 0xEE));
    const Reg sums = _mm512_add_ps(_mm512_shuffle_ps(by2[0], by2[1], 0x88),
                                   _mm512_shuffle_ps(by2[0], by2[1], 0xDD));
    const __m512i order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
    return _mm512_permutexvar_ps(order, sums);
  }

  static int largest_magnitude_bits(Reg x) {
    return _mm512_reduce_max_epi32(
        _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF)));
  }
  static int round_group(Reg x, signed char* out) {
    const __m512i rounded = _mm512_cvtps_epi32(x);
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     _mm_shuffle_epi8(_mm512_cvtepi32_epi8(rounded), order));
    return _mm512_reduce_add_epi32(rounded);
  }
};

}  // namespace tetrad
