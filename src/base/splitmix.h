#pragma once

#include <cstdint>

namespace tetrad {

/// What SplitMix64 adds to its state for each number.
inline constexpr uint64_t kSplitMixStep = 0x9E3779B97F4A7C15;

/// SplitMix64's output function (Steele, Lea, Flood 2014): a bijection that scatters its input.
constexpr uint64_t splitmix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

/// 64 random bits as a number in [0, 1).
constexpr double unit_interval(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace tetrad
