#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace tetrad {

/// As numpy's: linear between neighbours. percent: 0 to 100. sorted: ascending, not empty.
inline double percentile(std::span<const double> sorted, double percent) {
  const double position = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  if (below + 1 >= sorted.size()) return sorted.back();
  return std::lerp(sorted[below], sorted[below + 1], position - static_cast<double>(below));
}

/// Of values in any order, which are not none.
inline double median_of(std::vector<double> values) {
  std::ranges::sort(values);
  return percentile(values, 50);
}

}  // namespace tetrad
