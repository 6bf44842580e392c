#include "base/dtype.h"

#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace tetrad {
namespace {

struct Entry {
  DType dtype;
  size_t size;
  std::string_view name;
};

constexpr std::array<Entry, 16> kEntries{{
    {DType::f64, 8, "F64"},
    {DType::f32, 4, "F32"},
    {DType::f16, 2, "F16"},
    {DType::bf16, 2, "BF16"},
    {DType::f8_e4m3, 1, "F8_E4M3"},
    {DType::f8_e5m2, 1, "F8_E5M2"},
    {DType::f8_e8m0, 1, "F8_E8M0"},
    {DType::i64, 8, "I64"},
    {DType::i32, 4, "I32"},
    {DType::i16, 2, "I16"},
    {DType::i8, 1, "I8"},
    {DType::u64, 8, "U64"},
    {DType::u32, 4, "U32"},
    {DType::u16, 2, "U16"},
    {DType::u8, 1, "U8"},
    {DType::boolean, 1, "BOOL"},
}};

}  // namespace

size_t dtype_size(DType dtype) {
  return kEntries[static_cast<size_t>(dtype)].size;
}

std::string_view dtype_name(DType dtype) {
  return kEntries[static_cast<size_t>(dtype)].name;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return entry.dtype;
  }
  return std::nullopt;
}

uint16_t float_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u);
  // Everything from 65520 up rounds to infinity.
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the result counts units of 2^-24; nearbyint rounds ties to even.
    const float scaled = std::ldexp(std::bit_cast<float>(magnitude), 24);
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(scaled)));
  }
  const uint32_t rebased = magnitude - 0x38000000u;
  return static_cast<uint16_t>(sign | ((rebased + 0xFFFu + ((rebased >> 13) & 1u)) >> 13));
}

float f8_e4m3_to_float(uint8_t bits) {
  const int exponent = (bits >> 3) & 15;
  const int fraction = bits & 7;
  float magnitude = 0.0f;
  if (exponent == 15 && fraction == 7) {
    magnitude = std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(fraction), -9);
  } else {
    magnitude = std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
  }
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

const std::array<float, 256>& f8_e4m3_values() {
  static const std::array<float, 256> kValues = [] {
    std::array<float, 256> values{};
    for (size_t code = 0; code < values.size(); ++code)
      values[code] = f8_e4m3_to_float(static_cast<uint8_t>(code));
    return values;
  }();
  return kValues;
}

}  // namespace tetrad
