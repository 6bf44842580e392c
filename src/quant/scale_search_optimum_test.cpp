// The exact search against every FP16 scale, and against the fast search.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "base/sanitized_for_tests.h"
#include "quant/search_groups_for_tests.h"

namespace tetrad::search_test {
namespace {

/// Whether some FP16 scale gives less than `bound`. Every scale is looked at but those that cannot:
/// beyond the largest weight all codes are at level 1 and the error only grows with the scale, and
/// once a single weight is clipped by more than the bound it is by every smaller scale.
class BruteForce {
 public:
  BruteForce() {
    for (int i = 0; i < kCells; ++i) {
      const double middle = (i - kMiddleCell + 0.5) / 2;
      for (const int8_t level : kIq4NlCodebook) {
        if (std::abs(middle - level) < std::abs(middle - nearest_[static_cast<size_t>(i)]))
          nearest_[static_cast<size_t>(i)] = level;
      }
    }
  }

  bool some_scale_beats(double bound, const float* weights, const float* importance) const {
    std::array<size_t, kGroup> order;  // what costs most first
    for (size_t i = 0; i < kGroup; ++i)
      order[i] = i;
    const auto cost = [&](size_t i) { return importance[i] * double{weights[i]} * weights[i]; };
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return cost(a) > cost(b); });
    double largest = 0;
    for (size_t i = 0; i < kGroup; ++i)
      largest = std::max(largest, std::abs(double{weights[i]}));
    constexpr uint16_t kLargestFinite = 0x7BFF;
    for (const double sign : {1.0, -1.0}) {
      for (int bits = kLargestFinite; bits > 0; --bits) {
        const double scale = magnitudes()[static_cast<size_t>(bits)];
        if (scale > 1.001 * largest) continue;
        const double inverse = sign / scale;
        double error = 0;
        for (const size_t i : order) {
          const double difference = weights[i] - sign * scale * nearest(weights[i] * inverse);
          error += importance[i] * difference * difference;
          if (error >= bound) {
            if (i == order[0] && std::abs(weights[i]) > 127 * scale) bits = 1;
            break;
          }
        }
        if (error < bound) return true;
      }
    }
    return false;
  }

 private:
  /// Midpoints of levels are multiples of 1/2: no cell of that width has one inside.
  static constexpr int kCells = 512;
  static constexpr double kMiddleCell = 256;
  double nearest(double ratio) const {
    const double cell = std::clamp(std::floor(2 * ratio) + kMiddleCell, 0.0, kCells - 1.0);
    return nearest_[static_cast<size_t>(cell)];
  }
  static const std::vector<double>& magnitudes() {
    static const std::vector<double> kMagnitudes = [] {
      std::vector<double> values(0x7C00);
      for (size_t bits = 0; bits < values.size(); ++bits)
        values[bits] = f16_value(static_cast<uint16_t>(bits));
      return values;
    }();
    return kMagnitudes;
  }
  std::array<double, kCells> nearest_ = [] {
    std::array<double, kCells> far;
    far.fill(1e9);
    return far;
  }();
};

/// Codes are chosen by a division in float, which may take the other of two levels that are equally
/// near but for rounding.
constexpr double kFloatNoise = 1e-6;

TEST(ScaleSearch, NoFp16ScaleIsBetterThanTheExactOne) {
  constexpr size_t kGroups = kSanitized ? 200 : 10'000;
  const std::vector<float> weights = mixed_groups(kGroups, true, 1);
  std::vector<float> importance = random_importance(weights.size(), 2);
  std::fill_n(importance.begin(), importance.size() / 2, 1.0f);
  const BruteForce all_scales;
  const Quantized found = quantized(weights, importance);
  for (size_t g = 0; g < kGroups; ++g) {
    const std::span<const float> of_group = std::span(importance).subspan(g * kGroup, kGroup);
    const double error = squared_error(weights, found, g, of_group);
    double all_zero = 0;  // what scale 0 gives
    for (size_t i = 0; i < kGroup; ++i)
      all_zero += of_group[i] * double{weights[g * kGroup + i]} * weights[g * kGroup + i];
    ASSERT_LE(error, all_zero * (1 + kFloatNoise)) << g;
    ASSERT_FALSE(all_scales.some_scale_beats(error * (1 - kFloatNoise), &weights[g * kGroup],
                                             of_group.data()))
        << "group " << g;
  }
}

TEST(ScaleSearch, TheBruteForceFindsWhatTheFastSearchMisses) {
  const std::vector<float> weights = mixed_groups(200, false, 3);
  const std::vector<float> ones(kGroup, 1.0f);
  const Quantized found = quantized(weights, {}, ScaleSearch::fast);
  const BruteForce all_scales;
  int beaten = 0;
  for (size_t g = 0; g < 200; ++g) {
    const double error = squared_error(weights, found, g);
    beaten += all_scales.some_scale_beats(error * (1 - 1e-3), &weights[g * kGroup], ones.data());
  }
  EXPECT_GT(beaten, 0);
  EXPECT_LT(beaten, 40);
}

TEST(ScaleSearch, ExactIsNeverWorseThanFast) {
  constexpr size_t kGroups = kSanitized ? 10'000 : 500'000;  // twice
  for (const bool weighted : {false, true}) {
    const std::vector<float> weights = mixed_groups(kGroups, true, weighted ? 4 : 5);
    const std::vector<float> importance =
        weighted ? random_importance(weights.size(), 6) : std::vector<float>(weights.size(), 1.0f);
    const Quantized exact = quantized(weights, importance);
    const Quantized fast = quantized(weights, importance, ScaleSearch::fast);
    size_t better = 0;
    for (size_t g = 0; g < kGroups; ++g) {
      const std::span<const float> of_group = std::span(importance).subspan(g * kGroup, kGroup);
      const double exact_error = squared_error(weights, exact, g, of_group);
      const double fast_error = squared_error(weights, fast, g, of_group);
      ASSERT_LE(exact_error, fast_error * (1 + 1e-9)) << g;
      better += exact_error < fast_error ? 1 : 0;
    }
    EXPECT_GT(better, kGroups / 100);
    EXPECT_LT(better, kGroups / 2);
  }
}

}  // namespace
}  // namespace tetrad::search_test
