#pragma once

// What the warps of a block computed of a row, a segment of the columns each, added up: in the
// order of the segments, which decides the bits.

#include "gpu/fragment.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

/// parts[0] + parts[stride] + … `count` of them, in shared memory. Some are loaded at a time, since
/// each load alone would be waited for, and in a loop, since code comes from memory, too.
TETRAD_DEVICE float sum_of_parts(const float* parts, uint32_t count, uint32_t stride) {
  constexpr uint32_t kAtOnce = 4;
  float sum = *parts;
  TETRAD_NO_UNROLL
  for (uint32_t done = 1; done < count; done += kAtOnce) {
    float some[kAtOnce];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kAtOnce; ++i) {
      const uint32_t s = done + i < count ? done + i : 0;
      some[i] = parts[s * stride];
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kAtOnce; ++i)
      sum = done + i < count ? sum + some[i] : sum;
  }
  return sum;
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
