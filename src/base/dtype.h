#pragma once

// Element types as safetensors spells them, and the small floating-point formats in scalar form.

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tetrad {

enum class DType : uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean
};

/// Bytes of one element.
size_t dtype_size(DType dtype);
/// The safetensors spelling: "F32", "BF16", "F8_E4M3", …
std::string_view dtype_name(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);

inline float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

/// Round to nearest, ties to even; NaN stays NaN.
inline uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

/// IEEE binary16, subnormals included: MXFP4-16 scales below 2^-14 are ordinary. Exponent and
/// fraction in their place in a float leave the exponent's bias wrong, also of subnormals; one
/// multiplication by a power of two puts that right.
inline float f16_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16;
  const uint32_t magnitude = (bits & 0x7FFFu) << 13;
  const uint32_t infinity = (bits & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0u;
  const float finite = std::bit_cast<float>(magnitude) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(finite) | infinity | sign);
}
/// Round to nearest, ties to even; overflow gives infinity.
uint16_t float_to_f16(float value);

/// E4M3FN: bias 7, no infinities, 0x7F and 0xFF are NaN, largest finite value 448.
float f8_e4m3_to_float(uint8_t bits);
/// The values of all codes.
const std::array<float, 256>& f8_e4m3_values();

/// Round to nearest, ties to even; what lies beyond ±448 becomes ±448, so no number becomes NaN.
/// NaN stays NaN. A loop of it can be vectorised.
inline uint8_t float_to_f8_e4m3(float value) {
  constexpr int32_t kLargest = 0x43E00000;              // 448
  constexpr int32_t kSmallestNormal = (127 - 6) << 23;  // 2^-6
  constexpr int32_t kInfinity = 0x7F800000;
  const auto bits = std::bit_cast<int32_t>(value);
  const int32_t sign = (bits >> 24) & 0x80;
  const int32_t magnitude = bits & 0x7FFFFFFF;
  const int32_t clamped = magnitude < kLargest ? magnitude : kLargest;
  // From 2^-6 on, 20 of the fraction's 23 bits go.
  const int32_t rebased = clamped - ((127 - 7) << 23);
  const int32_t normal = (rebased + 0x7FFFF + ((rebased >> 20) & 1)) >> 20;
  // Below, codes count units of 2^-9, which is the last bit of floats from 2^14 on: the addition
  // rounds. What rounds up to 2^-6 gets 8, its normal code.
  const int32_t subnormal = std::bit_cast<int32_t>(std::bit_cast<float>(clamped) + 0x1p14f) -
                            std::bit_cast<int32_t>(0x1p14f);
  // Masks and no choices: a compiler that sees one skips half of the work with a branch.
  const int32_t is_subnormal = (clamped - kSmallestNormal) >> 31;
  const int32_t is_nan = (kInfinity - magnitude) >> 31;
  const int32_t code = (subnormal & is_subnormal) | (normal & ~is_subnormal);
  return static_cast<uint8_t>(sign | code | (0x7F & is_nan));
}

}  // namespace tetrad
