#pragma once

// The scale search of quant_loops.h.

#include "quant/quant_kernels.h"
#include "quant/quant_lanes.h"
#include "quant/search_exact_loops.h"

namespace tetrad {
namespace {  // NOLINT(google-build-namespaces)

/// Some groups, a lane each, over their largest weight and their largest importance.
struct ScaledGroups {
  Floats largest;  // |weight|, at least the smallest float
  Floats weights[kSearchGroupWeights];
  Floats importance[kSearchGroupWeights];
  Floats product[kSearchGroupWeights];  // importance · weight
};

/// With the codes c fixed the squared error is a parabola in the scale s:
///   Σ h·w² - (2·s·wc - s²·cc),   wc = Σ h·w·c,   cc = Σ h·c².
struct ParabolaSums {
  Floats wc;
  Floats cc;
};

/// Importance that is zero for every weight that is not zero counts as ones.
inline void fill_silent_groups(SearchBatch& batch) {
  for (int64_t at = 0; at < kSearchGroups; at += kFloatLanes) {
    Ints speaks = {};
    for (int64_t i = 0; i < kSearchGroupWeights; ++i) {
      speaks |= (load_floats(batch.importance[i] + at) > 0.0f) &
                (load_floats(batch.weights[i] + at) != 0.0f);
    }
    for (auto& importance : batch.importance) {
      const Floats given = load_floats(importance + at);
      const Floats used = speaks != 0 ? given : floats_of(1);
      __builtin_memcpy(importance + at, &used, sizeof used);
    }
  }
}

inline Floats largest_in_lanes(const SearchBatch& batch, int64_t at) {
  Floats largest = {};
  for (const auto& weights : batch.weights)
    largest = larger_of(magnitude_of(load_floats(weights + at)), largest);
  return largest;
}

inline void scale_groups(const SearchBatch& batch, int64_t at, ScaledGroups& groups) {
  constexpr float kSmallestFloat = 0x1p-149f;
  groups.largest = larger_of(largest_in_lanes(batch, at), floats_of(kSmallestFloat));
  Floats largest_importance = floats_of(kSmallestFloat);
  for (const auto& importance : batch.importance)
    largest_importance = larger_of(load_floats(importance + at), largest_importance);
  for (int64_t i = 0; i < kSearchGroupWeights; ++i) {
    groups.weights[i] = load_floats(batch.weights[i] + at) / groups.largest;
    groups.importance[i] = load_floats(batch.importance[i] + at) / largest_importance;
    groups.product[i] = groups.importance[i] * groups.weights[i];
  }
}

inline ParabolaSums sums_at(const ScaledGroups& groups, const Floats& inverse_scale) {
  ParabolaSums sums = {};
  for (int64_t i = 0; i < kSearchGroupWeights; ++i) {
    Floats level;
    Ints code;
    nearest_iq4(groups.weights[i] * inverse_scale, level, code);
    sums.wc += groups.product[i] * level;
    sums.cc += groups.importance[i] * (level * level);
  }
  return sums;
}

/// The scale found so far, over groups.largest, and how far it lowers the squared error.
struct FastBest {
  Floats gain;
  Floats scale;

  void offer(const Floats& offered_gain, const Floats& offered_scale) {
    const Ints better = offered_gain > gain;
    gain = better ? offered_gain : gain;
    scale = better ? offered_scale : scale;
  }
};

// Inverse scales that are tried, as parts of the one at which the outermost weight stands on the
// outermost level. Up to 1.2 of it the clipping may pay; down to 0.62 an inner level may suit the
// outermost weight better. Found by measuring: what lies outside, or closer together, gains less
// than 0.1 % of the squared error on Gaussian and Laplace weights.
constexpr float kFirstFactor = 0.62f;
constexpr float kFactorStep = 1.055f;
constexpr int kNumFactors = 14;
constexpr int kNumRefinements = 2;

/// The best vertex of the parabolas at some scales of one sign.
inline void sweep(const ScaledGroups& groups, float sign, FastBest& best) {
  Floats above = floats_of(1e-30f);
  Floats below = floats_of(1e-30f);
  for (const Floats& weights : groups.weights) {
    above = larger_of(sign * weights, above);
    below = larger_of(-sign * weights, below);
  }
  const Floats unclipped = smaller_of(113 / above, 127 / below) * sign;
  float factor = kFirstFactor;
  for (int n = 0; n < kNumFactors; ++n) {
    const ParabolaSums sums = sums_at(groups, unclipped * factor);
    const Floats vertex = sums.wc / sums.cc;
    best.offer(vertex * sums.wc, vertex);
    factor *= kFactorStep;
  }
}

/// As it would be stored.
inline Floats storable(const ScaledGroups& groups, const Floats& scale) {
  return rounded_to_f16(scale * groups.largest) / groups.largest;
}

inline Floats fast_scale(const ScaledGroups& groups, bool positive_only) {
  FastBest start = {};
  sweep(groups, 1, start);
  if (!positive_only) sweep(groups, -1, start);
  // Least squares from the codes that are the nearest at the scale found last.
  FastBest best = {};
  Floats scale = start.scale;
  for (int step = 0; step < kNumRefinements; ++step) {
    const Floats stored = storable(groups, scale);
    const ParabolaSums sums = sums_at(groups, 1 / (stored == 0 ? floats_of(1) : stored));
    best.offer(stored * (2 * sums.wc - stored * sums.cc), stored);
    scale = sums.wc / sums.cc;
  }
  // The division by the largest weight may have cost the last bit: rounding brings it back.
  return rounded_to_f16(best.scale * groups.largest);
}

inline void store_scales(const Floats& scales, int64_t at, SearchedBatch& out) {
  __builtin_memcpy(out.scales + at, &scales, sizeof scales);
}

/// Codes nearest at the scales: divided in float32, as the format's specification has it.
inline void store_codes(const SearchBatch& batch, SearchedBatch& out) {
  for (int64_t at = 0; at < kSearchGroups; at += kFloatLanes) {
    const Floats scale = load_floats(out.scales + at);
    const Ints is_zero = scale == 0;
    const Floats divisor = is_zero ? floats_of(1) : scale;
    for (int64_t word = 0; word < 2; ++word) {
      Ints packed = {};
      for (int64_t i = 0; i < 8; ++i) {
        const Floats ratio = load_floats(batch.weights[8 * word + i] + at) / divisor;
        Floats level;
        Ints code;
        nearest_iq4(is_zero ? Floats{} : ratio, level, code);
        packed |= code << static_cast<int>(4 * i);
      }
      __builtin_memcpy(out.codes[word] + at, &packed, sizeof packed);
    }
  }
}

void search_amax(const SearchBatch& batch, SearchedBatch& out) {
  for (int64_t at = 0; at < kSearchGroups; at += kFloatLanes)
    store_scales(rounded_to_f16(largest_in_lanes(batch, at) / 127), at, out);
  store_codes(batch, out);
}

void find_fast_scales(const SearchBatch& batch, SearchedBatch& out) {
  for (int64_t at = 0; at < kSearchGroups; at += kFloatLanes) {
    ScaledGroups groups;
    scale_groups(batch, at, groups);
    store_scales(fast_scale(groups, batch.positive_only), at, out);
  }
}

void search_fast(const SearchBatch& given, SearchedBatch& out) {
  SearchBatch batch = given;
  fill_silent_groups(batch);
  find_fast_scales(batch, out);
  store_codes(batch, out);
}

void search_exact(const SearchBatch& given, SearchedBatch& out) {
  SearchBatch batch = given;
  fill_silent_groups(batch);
  find_fast_scales(batch, out);
  improve_to_optimum(batch, out.scales);
  store_codes(batch, out);
}

}  // namespace
}  // namespace tetrad
