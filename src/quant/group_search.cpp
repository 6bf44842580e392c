#include "quant/group_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/dtype.h"

namespace tetrad {
namespace {

constexpr size_t kLevels = kIq4NlCodebook.size();
/// The code of the level nearest to zero, which every weight has while the scale is huge.
constexpr int kSmallestLevel = 8;
static_assert(kIq4NlCodebook[kSmallestLevel] == 1);
/// A negative weight passes 8 thresholds as the scale shrinks, a positive one 7.
constexpr size_t kMaxBreakpoints = kGroupWeights * kSmallestLevel;

/// kThresholds[j] lies between levels j and j + 1. Multiples of 1/2, so exact in any float type.
constexpr std::array<float, kLevels - 1> kThresholds = [] {
  std::array<float, kLevels - 1> thresholds{};
  for (size_t j = 0; j < thresholds.size(); ++j) {
    thresholds[j] = 0.5f * static_cast<float>(kIq4NlCodebook[j] + kIq4NlCodebook[j + 1]);
  }
  return thresholds;
}();

using Values = std::array<double, kGroupWeights>;

/// Nearest level, ties to the lower index.
template <class Float>
int nearest_code(Float scaled_weight) {
  int code = 0;
  for (const float threshold : kThresholds)
    code += scaled_weight > threshold ? 1 : 0;
  return code;
}

double level(int code) {
  return kIq4NlCodebook[static_cast<size_t>(code)];
}

/// The weights of a group or of its mirror image, and the weights of their squared errors.
struct Problem {
  Values weights;
  Values importance;
  double polarity = 1;  // +1 or -1: what the weights were multiplied with
};

/// With the codes c fixed the squared error is a parabola in the scale s:
///   Σ h·w² - (2·s·wc - s²·cc),   wc = Σ h·w·c,   cc = Σ h·c².
struct Sums {
  double wc = 0;
  double cc = 0;

  void add(double weight, double importance, double code_level) {
    wc += importance * weight * code_level;
    cc += importance * code_level * code_level;
  }
};

/// The best scale so far; `gain` is how far it lowers the squared error below Σ h·w².
struct Best {
  double gain = 0;
  double scale = 0;
};

/// Offers the best FP16 scale for some assignment of codes: the one nearest to the parabola's
/// vertex wc/cc. It need not lie where these codes are the nearest ones: the optimum over all
/// scales is found at its own codes, and elsewhere the parabola only overstates the error.
void offer(const Sums& sums, double polarity, Best& best) {
  // wc²/cc is the gain before the scale is rounded; few assignments get past this line.
  if (sums.wc <= 0 || sums.wc * sums.wc <= best.gain * sums.cc) return;
  const double exact = std::min(sums.wc / sums.cc, kLargestF16);
  const double scale = f16_to_float(float_to_f16(static_cast<float>(exact)));
  const double gain = scale * (2 * sums.wc - scale * sums.cc);
  if (gain > best.gain) best = {gain, polarity * scale};
}

/// Offers the codes at the scale that maps the largest weight to about the largest level: a good
/// start, so that the bound below cuts off much.
void offer_max_scale(const Problem& problem, Best& best) {
  double largest = 0;
  for (const double weight : problem.weights)
    largest = std::max(largest, std::abs(weight));
  if (largest == 0) return;
  constexpr double kMiddleOfOutermostLevels = 120;  // between 113 and 127
  Sums sums;
  for (size_t i = 0; i < kGroupWeights; ++i) {
    const int code = nearest_code(problem.weights[i] / largest * kMiddleOfOutermostLevels);
    sums.add(problem.weights[i], problem.importance[i], level(code));
  }
  offer(sums, problem.polarity, best);
}

/// The inverse scale beyond which the clipping of a single weight costs more than the best total
/// error known: h·(|w| - s·L)² > error, where L is the outermost level on the weight's side.
double largest_useful_inverse_scale(const Problem& problem, const Best& best) {
  double energy = 0;
  for (size_t i = 0; i < kGroupWeights; ++i)
    energy += problem.importance[i] * problem.weights[i] * problem.weights[i];
  const double error = energy - best.gain;
  double bound = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < kGroupWeights; ++i) {
    const double weight = problem.weights[i];
    const double kept = std::abs(weight) - std::sqrt(error / problem.importance[i]);
    if (kept > 0) bound = std::min(bound, std::abs(level(weight > 0 ? kLevels - 1 : 0)) / kept);
  }
  return bound;
}

/// Where, as the scale shrinks, one weight moves on to the next level away from zero.
struct Breakpoint {
  double inverse_scale;
  size_t weight;

  /// A strict order, so that the sums do not depend on whose std::sort this is.
  bool operator<(const Breakpoint& other) const {
    return inverse_scale != other.inverse_scale ? inverse_scale < other.inverse_scale
                                                : weight < other.weight;
  }
};

struct Breakpoints {
  std::array<Breakpoint, kMaxBreakpoints> items;
  size_t count = 0;
};

Breakpoints sorted_breakpoints(const Values& weights, double largest_inverse_scale) {
  Breakpoints result;
  for (size_t i = 0; i < kGroupWeights; ++i) {
    if (weights[i] == 0) continue;
    const double inverse = 1.0 / weights[i];
    const int step = weights[i] > 0 ? 1 : -1;
    const int end = weights[i] > 0 ? static_cast<int>(kThresholds.size()) : -1;
    for (int j = weights[i] > 0 ? kSmallestLevel : kSmallestLevel - 1; j != end; j += step) {
      const double inverse_scale = kThresholds[static_cast<size_t>(j)] * inverse;
      if (inverse_scale > largest_inverse_scale) break;
      result.items[result.count++] = {inverse_scale, i};
    }
  }
  std::sort(result.items.begin(), result.items.begin() + static_cast<ptrdiff_t>(result.count));
  return result;
}

/// Offers every assignment that is the nearest one for some positive scale, from an infinite scale
/// (all codes at the smallest level) down to the bound.
void search_positive_scales(const Problem& problem, Best& best) {
  offer_max_scale(problem, best);
  std::array<int, kGroupWeights> codes;
  codes.fill(kSmallestLevel);
  Sums sums;
  for (size_t i = 0; i < kGroupWeights; ++i)
    sums.add(problem.weights[i], problem.importance[i], level(kSmallestLevel));
  offer(sums, problem.polarity, best);

  const Breakpoints breakpoints =
      sorted_breakpoints(problem.weights, largest_useful_inverse_scale(problem, best));
  for (size_t next = 0; next < breakpoints.count; ++next) {
    const size_t i = breakpoints.items[next].weight;
    const double from = level(codes[i]);
    codes[i] += problem.weights[i] > 0 ? 1 : -1;
    const double to = level(codes[i]);
    sums.wc += problem.importance[i] * problem.weights[i] * (to - from);
    sums.cc += problem.importance[i] * (to * to - from * from);
    offer(sums, problem.polarity, best);
  }
}

bool says_nothing(std::span<const float, kGroupWeights> weights,
                  std::span<const float> importance) {
  for (size_t i = 0; i < importance.size(); ++i) {
    if (importance[i] > 0 && weights[i] != 0) return false;
  }
  return true;
}

}  // namespace

QuantizedGroup search_group(std::span<const float, kGroupWeights> weights,
                            std::span<const float> importance) {
  Problem problem;
  std::copy(weights.begin(), weights.end(), problem.weights.begin());
  if (says_nothing(weights, importance)) {
    problem.importance.fill(1.0);
  } else {
    std::copy(importance.begin(), importance.end(), problem.importance.begin());
  }
  Best best;
  search_positive_scales(problem, best);
  for (double& weight : problem.weights)
    weight = -weight;
  problem.polarity = -1;
  search_positive_scales(problem, best);

  QuantizedGroup group;
  const auto scale = static_cast<float>(best.scale);
  group.scale_bits = float_to_f16(scale);
  // The codes are those nearest at the rounded scale, divided in float as the format has it.
  for (size_t i = 0; i < kGroupWeights; ++i) {
    group.codes[i] =
        static_cast<uint8_t>(scale == 0 ? kSmallestLevel : nearest_code(weights[i] / scale));
  }
  return group;
}

}  // namespace tetrad
