#pragma once

#include "kernels/cpu/simd_kernels.h"

namespace tetrad {

/// 16 floats in an array, for machines without a vector unit that this project knows; the compiler
/// makes of it what it can. A multiplication and an addition round separately here, where the other
/// two instruction sets round once, so results differ from theirs in the last bits.
struct Generic {
  struct Reg {
    float lane[kLanes];
  };

  /// Sums kept in registers at a time, and how a tile of them is cut: kTileTokens columns, and
  /// kSums / columns rows, but not more than kMaxTileRows. kHeadVectors: vectors of a head's
  /// result that attention sums at a time.
  static constexpr int kSums = 4;
  static constexpr int kTileTokens = 2;
  static constexpr int kMaxTileRows = 4;
  static constexpr int kHeadVectors = 1;
  /// The tile of a product whose sums are not over lanes (attend_e4m3.h).
  static constexpr int kProductQueries = 2;
  static constexpr int kProductVectors = 2;

  static Reg zero() { return {}; }
  static Reg set(float value) {
    return map([=](int64_t) { return value; });
  }
  /// 16 floats, at any address.
  static Reg load(const void* p) {
    Reg a;
    __builtin_memcpy(a.lane, p, sizeof a.lane);
    return a;
  }
  static void store(float* p, const Reg& a) { __builtin_memcpy(p, a.lane, sizeof a.lane); }

  static Reg add(const Reg& a, const Reg& b) {
    return map([&](int64_t i) { return a.lane[i] + b.lane[i]; });
  }
  static Reg sub(const Reg& a, const Reg& b) {
    return map([&](int64_t i) { return a.lane[i] - b.lane[i]; });
  }
  static Reg mul(const Reg& a, const Reg& b) {
    return map([&](int64_t i) { return a.lane[i] * b.lane[i]; });
  }
  static Reg div(const Reg& a, const Reg& b) {
    return map([&](int64_t i) { return a.lane[i] / b.lane[i]; });
  }
  /// a * b + c
  static Reg fma(const Reg& a, const Reg& b, const Reg& c) {
    return map([&](int64_t i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  /// The second operand where either is NaN.
  static Reg max(const Reg& a, const Reg& b) {
    return map([&](int64_t i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static Reg min(const Reg& a, const Reg& b) {
    return map([&](int64_t i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  /// On the bits of the floats, as unsigned integers.
  static Reg shift_left_23(const Reg& a) {
    return map([&](int64_t i) { return as_float(as_bits(a.lane[i]) << 23); });
  }
  static Reg add_bits(const Reg& a, const Reg& b) {
    return map([&](int64_t i) { return as_float(as_bits(a.lane[i]) + as_bits(b.lane[i])); });
  }
  /// a < b ? 0 : value; the value where either is NaN.
  static Reg zero_where_less(const Reg& a, const Reg& b, const Reg& value) {
    return map([&](int64_t i) { return a.lane[i] < b.lane[i] ? 0.0f : value.lane[i]; });
  }

  /// 16 elements of a narrower type, at any address, exactly. Subnormals are values like others.
  static Reg widen_bf16(const void* p) {
    const auto* bytes = static_cast<const unsigned char*>(p);
    return map([&](int64_t i) { return as_float(load_u16(bytes + 2 * i) << 16); });
  }
  static Reg widen_f16(const void* p) {
    const auto* bytes = static_cast<const unsigned char*>(p);
    return map([&](int64_t i) { return f16_to_float(load_u16(bytes + 2 * i)); });
  }
  static Reg widen_e4m3(const void* p) {
    const auto* bytes = static_cast<const unsigned char*>(p);
    return map([&](int64_t i) { return e4m3_to_float(bytes[i]); });
  }

  /// The 16 levels of a 4-bit code, in the form look_up wants.
  struct Levels {
    float value[16];
  };
  static Levels levels(const signed char* codebook) {
    Levels result;
    for (int i = 0; i < 16; ++i)
      result.value[i] = codebook[i];
    return result;
  }
  /// The levels of one group of 16 codes: 8 bytes, the even columns in the low nibbles.
  static Reg look_up(const void* codes, const Levels& levels) {
    const auto* bytes = static_cast<const unsigned char*>(codes);
    return map([&](int64_t i) { return levels.value[(bytes[i / 2] >> (i % 2 * 4)) & 15]; });
  }

  /// Lane i of row j becomes lane j of row i.
  static void transpose(Reg (&rows)[kLanes]) {
    for (int64_t i = 0; i < kLanes; ++i) {
      for (int64_t j = 0; j < i; ++j) {
        const float value = rows[i].lane[j];
        rows[i].lane[j] = rows[j].lane[i];
        rows[j].lane[i] = value;
      }
    }
  }

  static float max_of_lanes(const Reg& a) {
    float largest = a.lane[0];
    for (const float value : a.lane)
      largest = value > largest ? value : largest;
    return largest;
  }

  /// Adds lanes 8 apart, then 4, 2 and 1: the same tree on every instruction set.
  static float sum_of_lanes(Reg a) {
    for (int64_t distance = kLanes / 2; distance > 0; distance /= 2) {
      for (int64_t i = 0; i < distance; ++i)
        a.lane[i] += a.lane[i + distance];
    }
    return a.lane[0];
  }
  /// out[0..3] = the sums of a, b, c and d.
  static void sums_of_lanes(const Reg& a, const Reg& b, const Reg& c, const Reg& d, float* out) {
    out[0] = sum_of_lanes(a);
    out[1] = sum_of_lanes(b);
    out[2] = sum_of_lanes(c);
    out[3] = sum_of_lanes(d);
  }

 private:
  template <class Function>
  static Reg map(Function function) {
    Reg result;
    for (int64_t i = 0; i < kLanes; ++i)
      result.lane[i] = function(i);
    return result;
  }
  static uint32_t as_bits(float value) {
    uint32_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
  }
  static float as_float(uint32_t bits) {
    float value = 0;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
  }
  static uint32_t load_u16(const unsigned char* p) {
    uint16_t bits = 0;
    __builtin_memcpy(&bits, p, sizeof bits);
    return bits;
  }
  /// Moving exponent and fraction to their place in a float leaves the exponent's bias wrong, also
  /// for subnormals; one multiplication by a power of two puts that right.
  static float f16_to_float(uint32_t bits) {
    const uint32_t sign = (bits & 0x8000u) << 16;
    const uint32_t magnitude = (bits & 0x7FFFu) << 13;
    if (magnitude >= 0x7C00u << 13) return as_float(sign | magnitude | 0x7F800000u);
    return as_float(sign | as_bits(as_float(magnitude) * 0x1p112f));
  }
  static float e4m3_to_float(uint32_t bits) {
    const uint32_t sign = (bits & 0x80u) << 24;
    const uint32_t magnitude = bits & 0x7Fu;
    if (magnitude == 0x7Fu) return as_float(0x7FC00000u);
    return as_float(sign | as_bits(as_float(magnitude << 20) * 0x1p120f));
  }
};

}  // namespace tetrad
