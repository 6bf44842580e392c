#pragma once

// What clang says alike for both vendors' GPUs.

#include <cstdint>

#define TETRAD_DEVICE __attribute__((device, always_inline)) inline
// Of a lambda: what is not inlined keeps its registers in memory.
#define TETRAD_INLINE __attribute__((always_inline))
#define TETRAD_UNROLL _Pragma("unroll")
#define TETRAD_NO_UNROLL _Pragma("nounroll")

namespace tetrad::gpu {

TETRAD_DEVICE float larger(float a, float b) {
  return __builtin_fmaxf(a, b);
}
TETRAD_DEVICE float smaller(float a, float b) {
  return __builtin_fminf(a, b);
}
TETRAD_DEVICE float fused_multiply_add(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
TETRAD_DEVICE float round_up(float x) {
  return __builtin_ceilf(x);
}

typedef _Float16 NativeHalf2 __attribute__((ext_vector_type(2)));
/// Products, each rounded once.
TETRAD_DEVICE uint32_t multiply_halves(uint32_t a, uint32_t b) {
  return __builtin_bit_cast(
      uint32_t, __builtin_bit_cast(NativeHalf2, a) * __builtin_bit_cast(NativeHalf2, b));
}
TETRAD_DEVICE float half_to_float(uint16_t bits) {
  return static_cast<float>(__builtin_bit_cast(_Float16, bits));
}
/// Nearest; beyond ±65504 it is that.
TETRAD_DEVICE uint16_t float_to_half(float x) {
  return __builtin_bit_cast(uint16_t,
                            static_cast<_Float16>(smaller(larger(x, -65504.0f), 65504.0f)));
}
/// `low` in the low half.
TETRAD_DEVICE uint32_t floats_to_halves(float low, float high) {
  return float_to_half(low) | static_cast<uint32_t>(float_to_half(high)) << 16;
}

}  // namespace tetrad::gpu
