#pragma once

#include <cmath>

#include "base/clock.h"
#include "bench/random.h"

namespace tetrad::bench {

/// When the next session arrives, whether or not the server keeps up: a Poisson process, or all at
/// once at an infinite rate.
class Arrivals {
 public:
  /// rate: sessions a second, above 0.
  Arrivals(double rate, uint64_t seed) : rate_(rate), random_(seed, kStream) {}

  /// Since the start of the run.
  Seconds next() const { return next_; }
  void advance() {
    if (std::isfinite(rate_)) next_ += Seconds(random_.exponential(1 / rate_));
  }

 private:
  static constexpr uint64_t kStream = 0x617272;  // apart from the workload's numbers

  double rate_;
  Random random_;
  Seconds next_{0};  // the first arrives at once
};

}  // namespace tetrad::bench
