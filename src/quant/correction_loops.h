#pragma once

// The error correction of quant_loops.h.

#include "quant/quant_kernels.h"
#include "quant/quant_lanes.h"

namespace tetrad {
namespace {  // NOLINT(google-build-namespaces)

inline void store_lanes(const Floats& lanes, float* p) {
  __builtin_memcpy(p, &lanes, sizeof lanes);
}

void accumulate_tile(const float* a, int64_t a_stride, const float* b, int64_t n, float* sums) {
  for (int64_t at = 0; at < kCorrectionLanes; at += kFloatLanes) {
    Floats local[kTileHeight];
    for (int64_t i = 0; i < kTileHeight; ++i)
      local[i] = load_floats(sums + i * kCorrectionLanes + at);
    for (int64_t k = 0; k < n; ++k) {
      const Floats row = load_floats(b + k * kCorrectionLanes + at);
#pragma GCC unroll 8
      for (int64_t i = 0; i < kTileHeight; ++i)
        local[i] += a[k * a_stride + i] * row;
    }
    for (int64_t i = 0; i < kTileHeight; ++i)
      store_lanes(local[i], sums + i * kCorrectionLanes + at);
  }
}

void round_group_of_rows(const GroupToRound& group, RoundedGroup& out) {
  for (int64_t at = 0; at < kCorrectionLanes; at += kFloatLanes) {
    const Floats scale = load_floats(group.scales + at);
    // A zero scale stores zeros whatever the code: it divides by one instead.
    const Floats divisor = scale == 0.0f ? floats_of(1) : scale;
    Floats cost = {};
    for (int64_t i = 15; i >= 0; --i) {
      Floats target = load_floats(group.targets + i * kCorrectionLanes + at);
      for (int64_t k = i + 1; k < 16; ++k)
        target += group.factors[k * 16 + i] * load_floats(out.errors + k * kCorrectionLanes + at);
      Floats level;
      Ints code;
      nearest_iq4(target / divisor, level, code);
      const Floats stored = level * scale;
      const Floats weight = load_floats(group.weights + i * kCorrectionLanes + at);
      store_lanes(weight - stored, out.errors + i * kCorrectionLanes + at);
      __builtin_memcpy(out.codes + i * kCorrectionLanes + at, &code, sizeof code);
      const Floats difference = target - stored;
      cost += group.pivots[i] * difference * difference;
    }
    store_lanes(cost, out.cost + at);
  }
}

}  // namespace
}  // namespace tetrad
