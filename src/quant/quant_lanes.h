#pragma once

// Vectors as wide as the instruction set that the including file is compiled for, and the few
// operations on them that the compiler's own vector types lack. The namespace is unnamed on
// purpose: every file has an instance of its own.

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tetrad {
namespace {  // NOLINT(google-build-namespaces)

#if defined(__AVX512F__)
#define TETRAD_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define TETRAD_VECTOR_BYTES 32
#else
#define TETRAD_VECTOR_BYTES 16
#endif

using Floats = float __attribute__((vector_size(TETRAD_VECTOR_BYTES)));
using Ints = int32_t __attribute__((vector_size(TETRAD_VECTOR_BYTES)));
using Doubles = double __attribute__((vector_size(TETRAD_VECTOR_BYTES)));
using Longs = int64_t __attribute__((vector_size(TETRAD_VECTOR_BYTES)));
using HalfOfFloats = float __attribute__((vector_size(TETRAD_VECTOR_BYTES / 2)));

constexpr int64_t kFloatLanes = TETRAD_VECTOR_BYTES / 4;
constexpr int64_t kDoubleLanes = TETRAD_VECTOR_BYTES / 8;

#undef TETRAD_VECTOR_BYTES

template <class To, class From>
inline To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

inline Floats load_floats(const float* p) {
  Floats lanes;
  __builtin_memcpy(&lanes, p, sizeof lanes);
  return lanes;
}

inline Doubles load_as_doubles(const float* p) {
  HalfOfFloats lanes;
  __builtin_memcpy(&lanes, p, sizeof lanes);
  return __builtin_convertvector(lanes, Doubles);
}

inline Floats floats_of(float value) {
  return Floats{} + value;
}
inline Doubles doubles_of(double value) {
  return Doubles{} + value;
}

inline Floats magnitude_of(const Floats& a) {
  return bits_as<Floats>(bits_as<Ints>(a) & 0x7FFFFFFF);
}
inline Doubles magnitude_of(const Doubles& a) {
  return bits_as<Doubles>(bits_as<Longs>(a) & INT64_MAX);
}

template <class Vector>
inline Vector smaller_of(const Vector& a, const Vector& b) {
  return a < b ? a : b;
}
template <class Vector>
inline Vector larger_of(const Vector& a, const Vector& b) {
  return a > b ? a : b;
}

/// Whether any lane of a comparison's result is true.
inline bool any_of(const Longs& mask) {
#if defined(__AVX512F__)
  return _mm512_movepi64_mask(bits_as<__m512i>(mask)) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_pd(bits_as<__m256d>(mask)) != 0;
#else
  int64_t bits = 0;
  for (int64_t lane = 0; lane < kDoubleLanes; ++lane)
    bits |= mask[lane];
  return bits != 0;
#endif
}

inline Doubles root_of(const Doubles& a) {
#if defined(__AVX512F__)
  return bits_as<Doubles>(_mm512_sqrt_pd(bits_as<__m512d>(a)));
#elif defined(__AVX2__)
  return bits_as<Doubles>(_mm256_sqrt_pd(bits_as<__m256d>(a)));
#else
  Doubles root;
  for (int64_t lane = 0; lane < kDoubleLanes; ++lane)
    root[lane] = __builtin_sqrt(a[lane]);
  return root;
#endif
}

/// table[index], 0 <= index < 16.
inline Doubles look_up(const double* table, const Longs& index) {
#if defined(__AVX512F__)
  return bits_as<Doubles>(_mm512_permutex2var_pd(_mm512_loadu_pd(table), bits_as<__m512i>(index),
                                                 _mm512_loadu_pd(table + 8)));
#else
  Doubles found;
  for (int64_t lane = 0; lane < kDoubleLanes; ++lane)
    found[lane] = table[index[lane]];
  return found;
#endif
}

/// The IQ4_NL level nearest to `ratio`, ties to the lower index, and its index.
inline void nearest_iq4(const Floats& ratio, Floats& level, Ints& code) {
#if defined(__AVX2__)
  // A binary search among the 15 thresholds, in tables that a permutation reads.
  constexpr float kQuarters[8] = {-93.5f, 0, -28.5f, 0, 19, 0, 79, 0};
  constexpr float kEvenThresholds[8] = {-115.5f, -74, -42, -16, 7, 31.5f, 61, 101};
  constexpr float kEvenLevels[8] = {-127, -83, -49, -22, 1, 25, 53, 89};
  constexpr float kOddLevels[8] = {-104, -65, -35, -10, 13, 38, 69, 113};
  const auto in_table = [](const float* table, const Ints& index) {
#if defined(__AVX512F__)
    const __m512 entries = _mm512_castps256_ps512(_mm256_loadu_ps(table));
    return bits_as<Floats>(_mm512_permutexvar_ps(bits_as<__m512i>(index), entries));
#else
    return bits_as<Floats>(
        _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), bits_as<__m256i>(index)));
#endif
  };
  const Ints upper = ratio > -4.5f;
  Ints half = upper & 4;  // of the code, without its lowest bit
  half |= (ratio > (upper ? floats_of(45.5f) : floats_of(-57))) & 2;
  half |= (ratio > in_table(kQuarters, half)) & 1;
  const Ints odd = ratio > in_table(kEvenThresholds, half);
  level = odd ? in_table(kOddLevels, half) : in_table(kEvenLevels, half);
  code = (half << 1) - odd;
#else
  constexpr float kThresholds[15] = {-115.5f, -93.5f, -74,   -57,   -42, -28.5f, -16, -4.5f,
                                     7,       19,     31.5f, 45.5f, 61,  79,     101};
  constexpr float kLevelsAbove[15] = {-104, -83, -65, -49, -35, -22, -10, 1,
                                      13,   25,  38,  53,  69,  89,  113};
  level = floats_of(-127);
  code = Ints{};
  for (int j = 0; j < 15; ++j) {
    const Ints above = ratio > kThresholds[j];
    code -= above;
    level = above ? floats_of(kLevelsAbove[j]) : level;
  }
#endif
}

/// The nearest finite binary16 number, ties to even.
inline Floats rounded_to_f16(const Floats& value) {
  const Ints sign = bits_as<Ints>(value) & INT32_MIN;
  const Floats magnitude = smaller_of(magnitude_of(value), floats_of(65504));
  const Ints bits = bits_as<Ints>(magnitude);
  const Floats normal = bits_as<Floats>((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF);
  // Below 2^-14 binary16 counts in units of 2^-24, the last bit of floats in [1/2, 1).
  const Floats subnormal = (magnitude + 0.5f) - 0.5f;
  const Floats rounded = magnitude < 0x1p-14f ? subnormal : normal;
  return bits_as<Floats>(bits_as<Ints>(rounded) | sign);
}

/// The same of numbers >= 0.
inline Doubles rounded_to_f16(const Doubles& value) {
  const Doubles magnitude = smaller_of(value, doubles_of(65504));
  const Longs bits = bits_as<Longs>(magnitude);
  const Doubles normal = bits_as<Doubles>((bits + ((int64_t{1} << 41) - 1) + ((bits >> 42) & 1)) &
                                          -(int64_t{1} << 42));
  const Doubles subnormal = (magnitude + 0x1p28) - 0x1p28;
  return magnitude < 0x1p-14 ? subnormal : normal;
}

}  // namespace
}  // namespace tetrad
