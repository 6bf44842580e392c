#pragma once

#include <array>
#include <optional>
#include <vector>

namespace tetrad::bench {

inline constexpr std::array kPercentiles = {50, 90, 95, 99};

/// Of a set of latencies, as numpy's mean, median, std (of the population) and percentile (linear
/// between neighbours) give them.
struct Distribution {
  double mean = 0;
  double median = 0;
  double std = 0;
  std::array<double, kPercentiles.size()> percentiles{};
};

/// Nothing for no values.
std::optional<Distribution> distribution_of(std::vector<double> values);

}  // namespace tetrad::bench
