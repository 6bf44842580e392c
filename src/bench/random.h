#pragma once

#include <cmath>
#include <cstdint>

namespace tetrad::bench {

/// Random numbers that are the same on every machine, which std's distributions don't promise:
/// SplitMix64 (Steele, Lea, Flood 2014), one stream for each (seed, stream).
class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0) : state_(mix(seed) ^ mix(~stream)) {}

  uint64_t next() { return mix(state_ += kStep); }
  /// [0, 1)
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// [low, high], both included.
  int64_t between(int64_t low, int64_t high) {
    const uint64_t count = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;
    return low + static_cast<int64_t>(next() % count);  // the bias is below count / 2^64
  }
  /// With the given mean.
  double exponential(double mean) { return -mean * std::log1p(-unit()); }

 private:
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15;

  static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  uint64_t state_;
};

}  // namespace tetrad::bench
