#pragma once

// The source of correction_kernels_*.cpp, each of which compiles it for its instruction set. The
// namespace is unnamed on purpose: every file has an instance of its own.

#include "quant/correction_kernels.h"

namespace tetrad {
namespace {  // NOLINT(google-build-namespaces)

/// The compiler cuts these into what the instruction set has.
using Lanes = float __attribute__((vector_size(64)));
using LaneMask = int32_t __attribute__((vector_size(64)));
static_assert(sizeof(Lanes) == kCorrectionLanes * sizeof(float));

inline void load_lanes(const float* p, Lanes& lanes) {
  __builtin_memcpy(&lanes, p, sizeof lanes);
}
inline void store_lanes(const Lanes& lanes, float* p) {
  __builtin_memcpy(p, &lanes, sizeof lanes);
}

void accumulate_tile(const float* a, int64_t a_stride, const float* b, int64_t n, float* sums) {
  Lanes local[kTileHeight];
  for (int64_t i = 0; i < kTileHeight; ++i)
    load_lanes(sums + i * kCorrectionLanes, local[i]);
  for (int64_t k = 0; k < n; ++k) {
    Lanes row;
    load_lanes(b + k * kCorrectionLanes, row);
#pragma GCC unroll 8
    for (int64_t i = 0; i < kTileHeight; ++i)
      local[i] += a[k * a_stride + i] * row;
  }
  for (int64_t i = 0; i < kTileHeight; ++i)
    store_lanes(local[i], sums + i * kCorrectionLanes);
}

// The IQ4_NL levels, and half the sum of each with the next: the thresholds between them.
constexpr float kFirstLevel = -127;
constexpr float kLevelSteps[15] = {23, 21, 18, 16, 14, 13, 12, 11, 12, 12, 13, 15, 16, 20, 24};
constexpr float kRoundingThresholds[15] = {-115.5f, -93.5f, -74,   -57,   -42, -28.5f, -16, -4.5f,
                                           7,       19,     31.5f, 45.5f, 61,  79,     101};

/// The level nearest to `ratio`, ties to the lower index, and its index.
inline void nearest_level(const Lanes& ratio, Lanes& level, LaneMask& code) {
  level = Lanes{} + kFirstLevel;
  code = LaneMask{};
#pragma GCC unroll 15
  for (int j = 0; j < 15; ++j) {
    const LaneMask above = ratio > kRoundingThresholds[j];  // -1 where it is
    code -= above;
    const Lanes step = Lanes{} + kLevelSteps[j];
    LaneMask step_bits;
    __builtin_memcpy(&step_bits, &step, sizeof step_bits);
    step_bits &= above;
    Lanes taken;
    __builtin_memcpy(&taken, &step_bits, sizeof taken);
    level += taken;
  }
}

void round_group_of_rows(const GroupToRound& group, RoundedGroup& out) {
  Lanes scale;
  load_lanes(group.scales, scale);
  // A zero scale stores zeros whatever the code: it divides by one instead.
  const LaneMask is_zero = scale == 0.0f;
  const Lanes divisor = is_zero ? Lanes{} + 1.0f : scale;
  Lanes cost = {};
  for (int64_t i = 15; i >= 0; --i) {
    Lanes target;
    load_lanes(group.targets + i * kCorrectionLanes, target);
    for (int64_t k = i + 1; k < 16; ++k) {
      Lanes error;
      load_lanes(out.errors + k * kCorrectionLanes, error);
      target += group.factors[k * 16 + i] * error;
    }
    const Lanes ratio = target / divisor;
    Lanes level;
    LaneMask code;
    nearest_level(ratio, level, code);
    const Lanes stored = level * scale;
    Lanes weight;
    load_lanes(group.weights + i * kCorrectionLanes, weight);
    store_lanes(weight - stored, out.errors + i * kCorrectionLanes);
    __builtin_memcpy(out.codes + i * kCorrectionLanes, &code, sizeof code);
    const Lanes difference = target - stored;
    cost += group.pivots[i] * difference * difference;
  }
  store_lanes(cost, out.cost);
}

constexpr CorrectionKernels kInstance = {&accumulate_tile, &round_group_of_rows};

}  // namespace
}  // namespace tetrad
