#pragma once

#include <cmath>
#include <cstdint>

#include "base/splitmix.h"

namespace tetrad::bench {

/// Random numbers that are the same on every machine, which std's distributions don't promise:
/// SplitMix64 (Steele, Lea, Flood 2014), one stream for each (seed, stream).
class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0)
      : state_(splitmix(seed) ^ splitmix(~stream)) {}

  uint64_t next() { return splitmix(state_ += kSplitMixStep); }
  /// [0, 1)
  double unit() { return unit_interval(next()); }
  /// [low, high], both included.
  int64_t between(int64_t low, int64_t high) {
    const uint64_t count = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;
    return low + static_cast<int64_t>(next() % count);  // the bias is below count / 2^64
  }
  /// With the given mean.
  double exponential(double mean) { return -mean * std::log1p(-unit()); }

 private:
  uint64_t state_;
};

}  // namespace tetrad::bench
