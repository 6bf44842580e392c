#pragma once

#include <cstddef>
#include <span>

namespace tetrad::parallel {

/// sum += part. The ranks' parts are added one after the other, rank 0's first.
inline void add_part(std::span<float> sum, const float* part) {
  for (size_t i = 0; i < sum.size(); ++i)
    sum[i] += part[i];
}

}  // namespace tetrad::parallel
