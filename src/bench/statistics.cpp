#include "bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/percentile.h"

namespace tetrad::bench {

std::optional<Distribution> distribution_of(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::ranges::sort(values);
  const auto count = static_cast<double>(values.size());
  Distribution result;
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values)
    squares += (value - result.mean) * (value - result.mean);
  result.std = std::sqrt(squares / count);
  result.median = percentile(values, 50);
  for (size_t i = 0; i < kPercentiles.size(); ++i)
    result.percentiles[i] = percentile(values, kPercentiles[i]);
  return result;
}

}  // namespace tetrad::bench
