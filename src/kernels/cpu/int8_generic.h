#pragma once

#include "kernels/cpu/vector_generic.h"

namespace tetrad {

/// What int8 products need beyond floats; the other int8_*.h do the same on their vectors.
struct GenericWithInt8 : Generic {
  /// Rows of weights that are decoded at a time.
  static constexpr int kInt8Rows = 1;

  /// 4 bytes of each of 16 groups.
  struct Bytes {
    int value[64];
  };
  /// 16 sums, one for each group.
  struct Ints {
    int lane[16];
  };

  struct ByteLevels {
    int value[16];
  };
  static ByteLevels byte_levels(const signed char* codebook) {
    ByteLevels levels;
    for (int i = 0; i < 16; ++i)
      levels.value[i] = codebook[i];
    return levels;
  }
  /// The levels of 256 codes (128 bytes at any address), in the order of an Int8Block.
  static void look_up_block(const unsigned char* codes, const ByteLevels& levels,
                            Bytes (&weights)[4]) {
    for (int i = 0; i < 128; ++i) {
      const int half = i % 8 / 4;
      const int place = i / 8 * 4 + i % 4;
      weights[2 * half].value[place] = levels.value[codes[i] & 15];
      weights[2 * half + 1].value[place] = levels.value[codes[i] >> 4];
    }
  }

  /// Where a group's sum starts: at what makes up for levels that are not the true ones.
  static Ints first_sum(const int32_t* /*offset*/) { return {}; }
  static Ints dot(Ints sum, const Bytes& weights, const signed char* activations) {
    for (int i = 0; i < 64; ++i)
      sum.lane[i / 4] += weights.value[i] * activations[i];
    return sum;
  }
  static Reg to_float(const Ints& sum) {
    Reg result;
    for (int i = 0; i < 16; ++i)
      result.lane[i] = static_cast<float>(sum.lane[i]);
    return result;
  }

  /// Lane i: the lanes of a[i] added, as sum_of_lanes does.
  static Reg sums_of_16(const Reg (&a)[16]) {
    float sums[16];
    for (int i = 0; i < 16; ++i)
      sums[i] = sum_of_lanes(a[i]);
    return load(sums);
  }
  /// The largest magnitude of the lanes as bits of a float; what is not finite is above all others.
  static int largest_magnitude_bits(const Reg& x) {
    uint32_t largest = 0;
    for (const float value : x.lane) {
      uint32_t bits = 0;
      __builtin_memcpy(&bits, &value, sizeof bits);
      bits &= 0x7FFFFFFFu;
      largest = bits > largest ? bits : largest;
    }
    return static_cast<int>(largest);
  }
  /// The lanes, which are within ±127, rounded to even, in the order of a group of an Int8Block:
  /// four for each of its rows of values. Returns their sum.
  static int round_group(const Reg& x, signed char* out) {
    int sum = 0;
    for (int k = 0; k < 16; ++k) {
      // Adding 1.5 * 2^23 leaves the integer in the low bits, rounded to even.
      const float shifted = x.lane[k] + 12582912.0f;
      uint32_t bits = 0;
      __builtin_memcpy(&bits, &shifted, sizeof bits);
      const auto value = static_cast<signed char>(bits & 0xFFu);
      sum += value;
      out[(k / 8 * 2 + k % 2) * 4 + k % 8 / 2] = value;
    }
    return sum;
  }
};

}  // namespace tetrad
