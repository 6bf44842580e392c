#pragma once

// The exact search of search_loops.h: a walk over every assignment of codes that can be the best.
//
// As the scale shrinks, the ratio of each weight to it grows, and at certain inverse scales, its
// breakpoints, the weight moves on to the next level away from zero. Between two breakpoints all
// codes are fixed and the squared error is a parabola. The optimum over FP16 scales has the codes
// that are nearest at it, and no scale is better for these codes than the FP16 number nearest to
// the vertex of their parabola; so it is enough to offer that number for each assignment.

#include "quant/quant_kernels.h"
#include "quant/quant_lanes.h"

namespace tetrad {
namespace {  // NOLINT(google-build-namespaces)

// Tables by threshold, of which 0 lies between levels 0 and 1 and 14 between levels 14 and 15. From
// level 8 on a positive weight crosses the thresholds 8, 9, …, 14, a negative one 7, 6, …, 0.

/// What crossing adds to level times sign of the weight, and to the square of the level.
constexpr double kLevelGrowth[16] = {23, 21, 18, 16, 14, 13, 12, 11, 12, 12, 13, 15, 16, 20, 24, 0};
constexpr double kSquareGrowth[16] = {5313, 3927, 2664, 1824, 1176, 741,  384,  99,
                                      168,  456,  819,  1365, 1952, 3160, 4848, 0};
/// The magnitude of the threshold that comes next; none is left after the outermost ones.
constexpr double kNoThreshold = __builtin_inf();
constexpr double kNextThreshold[16] = {kNoThreshold, 115.5, 93.5,         74,          57,   42,
                                       28.5,         16,    19,           31.5,        45.5, 61,
                                       79,           101,   kNoThreshold, kNoThreshold};

/// Later than every breakpoint that counts. Its low bits are zero.
constexpr double kNever = 0x1p1000;
/// The lowest bits of a breakpoint say whose it is, weight and threshold, which also makes the
/// breakpoints of a group differ from each other. It moves them by 2^-44 of themselves.
constexpr int64_t kOwnerBits = 255;

struct ExactBest {
  Doubles gain;  // how far the scale lowers the squared error below Σ h·w²
  Doubles scale;
};

struct ExactGroups {
  Doubles weights[kSearchGroupWeights];
  Doubles importance[kSearchGroupWeights];
  Doubles inverse[kSearchGroupWeights];  // 1 / |weight|
  Doubles product[kSearchGroupWeights];  // importance · |weight|
  Doubles energy;                        // Σ importance · weight²
};

inline void load_groups(const SearchBatch& batch, int64_t at, ExactGroups& groups) {
  groups.energy = Doubles{};
  for (int64_t i = 0; i < kSearchGroupWeights; ++i) {
    groups.weights[i] = load_as_doubles(batch.weights[i] + at);
    groups.importance[i] = load_as_doubles(batch.importance[i] + at);
    const Doubles magnitude = magnitude_of(groups.weights[i]);
    groups.inverse[i] = 1 / magnitude;
    groups.product[i] = groups.importance[i] * magnitude;
    groups.energy += groups.product[i] * magnitude;
  }
}

/// The scale that is there already, whose codes are `levels`.
inline ExactBest starting_point(const ExactGroups& groups, const Floats* levels, int64_t part,
                                const Doubles& scale) {
  Doubles wc = {};
  Doubles cc = {};
  for (int64_t i = 0; i < kSearchGroupWeights; ++i) {
    const Doubles level =
        load_as_doubles(reinterpret_cast<const float*>(levels + i) + part * kDoubleLanes);
    wc += groups.importance[i] * groups.weights[i] * level;
    cc += groups.importance[i] * level * level;
  }
  const Doubles gain = scale * (2 * wc - scale * cc);
  const Longs helps = gain > 0.0;
  return {helps ? gain : Doubles{}, helps ? scale : Doubles{}};
}

/// The inverse scale beyond which the clipping of a single weight costs more than the best total
/// error known: h·(|w| - s·L)² > error, where L is the outermost level on the weight's side.
inline Doubles latest_useful(const ExactGroups& groups, const Doubles& sign,
                             const ExactBest& best) {
  // Rounding must not cut off what is better by less than it.
  constexpr double kSlack = 1e-12;
  Doubles error = groups.energy - best.gain;
  error = larger_of(error, Doubles{}) + groups.energy * kSlack;
  Doubles latest = doubles_of(kNever);
  for (int64_t i = 0; i < kSearchGroupWeights; ++i) {
    const Doubles kept = magnitude_of(groups.weights[i]) - root_of(error / groups.importance[i]);
    const Doubles outermost = groups.weights[i] * sign > 0.0 ? doubles_of(113) : doubles_of(127);
    const Doubles end = outermost / kept * (1 + kSlack);
    latest = ((kept > 0.0) & (end < latest)) ? end : latest;
  }
  return latest;
}

inline Doubles with_owner(const Doubles& breakpoint, const Doubles& latest, const Longs& owner) {
  const Doubles useful = breakpoint < latest ? breakpoint : doubles_of(kNever);
  return bits_as<Doubles>((bits_as<Longs>(useful) & ~kOwnerBits) | owner);
}

/// Offers the best FP16 scale for an assignment of codes. wc²/cc is the gain before the scale is
/// rounded; few assignments get past that.
inline void offer_vertex(const Doubles& wc, const Doubles& cc, const Longs& counts,
                         const Doubles& sign, ExactBest& best) {
  const Longs promising = (wc * wc > best.gain * cc) & (wc > 0.0) & counts;
  if (!any_of(promising)) return;
  const Doubles scale = rounded_to_f16(wc / cc);
  const Doubles gain = scale * (2 * wc - scale * cc);
  const Longs better = promising & (gain > best.gain);
  best.gain = better ? gain : best.gain;
  best.scale = better ? scale * sign : best.scale;
}

/// From an infinite scale of the sign, where all codes are at level 1, to the latest that is
/// useful.
inline void walk(const ExactGroups& groups, double sign_of_scale, ExactBest& best) {
  const Doubles sign = doubles_of(sign_of_scale);
  const Doubles latest = latest_useful(groups, sign, best);
  Doubles breakpoints[kSearchGroupWeights];
  Doubles wc = {};
  Doubles cc = {};
  for (int64_t i = 0; i < kSearchGroupWeights; ++i) {
    const Doubles weight = groups.weights[i] * sign;
    const Longs above = weight > 0.0;
    const Doubles threshold = above ? doubles_of(7) : doubles_of(4.5);
    breakpoints[i] = with_owner(threshold * groups.inverse[i], latest, (i << 4 | 7) - above);
    wc += groups.importance[i] * weight;
    cc += groups.importance[i];
  }
  offer_vertex(wc, cc, Longs{} - 1, sign, best);
  for (;;) {
    Doubles pairs[kSearchGroupWeights / 2];
    for (int64_t i = 0; i < 8; ++i)
      pairs[i] = smaller_of(breakpoints[i], breakpoints[i + 8]);
    for (int64_t i = 0; i < 4; ++i)
      pairs[i] = smaller_of(pairs[i], pairs[i + 4]);
    const Doubles next = smaller_of(smaller_of(pairs[0], pairs[2]), smaller_of(pairs[1], pairs[3]));
    const Longs counts = next < kNever;
    if (!any_of(counts)) return;

    Doubles product = {};
    Doubles importance = {};
    Doubles inverse = {};
    for (int64_t i = 0; i < kSearchGroupWeights; ++i) {
      const Longs moves = breakpoints[i] == next;
      product = moves ? groups.product[i] : product;
      importance = moves ? groups.importance[i] : importance;
      inverse = moves ? groups.inverse[i] : inverse;
    }
    const Longs owner = bits_as<Longs>(next) & kOwnerBits;
    const Longs threshold = owner & 15;
    wc += product * look_up(kLevelGrowth, threshold);
    cc += importance * look_up(kSquareGrowth, threshold);
    // One up from 8 on, one down below.
    const Longs next_owner = (owner + ((threshold >> 3) << 1) - 1) & kOwnerBits;
    const Doubles following =
        with_owner(look_up(kNextThreshold, threshold) * inverse, latest, next_owner);
    for (Doubles& breakpoint : breakpoints)
      breakpoint = breakpoint == next ? following : breakpoint;
    offer_vertex(wc, cc, counts, sign, best);
  }
}

/// Replaces scales by the best ones, from which the search is the shorter the better they are.
inline void improve_to_optimum(const SearchBatch& batch, float* scales) {
  for (int64_t at = 0; at < kSearchGroups; at += kFloatLanes) {
    const Floats given = load_floats(scales + at);
    Floats levels[kSearchGroupWeights];
    for (int64_t i = 0; i < kSearchGroupWeights; ++i) {
      Ints code;
      nearest_iq4(load_floats(batch.weights[i] + at) / (given == 0 ? floats_of(1) : given),
                  levels[i], code);
    }
    for (int64_t part = 0; part < 2; ++part) {
      ExactGroups groups;
      load_groups(batch, at + part * kDoubleLanes, groups);
      ExactBest best =
          starting_point(groups, levels, part, load_as_doubles(scales + at + part * kDoubleLanes));
      walk(groups, 1, best);
      if (!batch.positive_only) walk(groups, -1, best);
      const HalfOfFloats found = __builtin_convertvector(best.scale, HalfOfFloats);
      __builtin_memcpy(scales + at + part * kDoubleLanes, &found, sizeof found);
    }
  }
}

}  // namespace
}  // namespace tetrad
