#include "quant/group_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "base/dtype.h"

namespace tetrad {
namespace {

using Group = std::array<float, kGroupWeights>;

double squared_error(const Group& weights, const QuantizedGroup& group,
                     std::span<const float> importance = {}) {
  const double scale = f16_to_float(group.scale_bits);
  double error = 0;
  for (size_t i = 0; i < kGroupWeights; ++i) {
    const double difference = weights[i] - scale * kIq4NlCodebook[group.codes[i]];
    error += (importance.empty() ? 1.0 : importance[i]) * difference * difference;
  }
  return error;
}

/// The least error any FP16 scale can give, by trying every one of them with every code. The
/// compiler's own binary16 says what the scales are.
double least_error_of_all_scales(const Group& weights, std::span<const float> importance = {}) {
  double least = std::numeric_limits<double>::infinity();
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    _Float16 value;
    std::memcpy(&value, &half, sizeof half);
    const double scale = static_cast<float>(value);
    if (!std::isfinite(scale)) continue;
    double error = 0;
    for (size_t i = 0; i < kGroupWeights && error < least; ++i) {
      double nearest = std::numeric_limits<double>::infinity();
      for (const int8_t level : kIq4NlCodebook)
        nearest = std::min(nearest, std::abs(weights[i] - scale * level));
      error += (importance.empty() ? 1.0 : importance[i]) * nearest * nearest;
    }
    least = std::min(least, error);
  }
  return least;
}

/// Codes are chosen by a division in float, which may take the other of two levels that are equally
/// near but for rounding.
constexpr double kFloatNoise = 1e-6;

void expect_optimal(const Group& weights, std::span<const float> importance = {}) {
  const double least = least_error_of_all_scales(weights, importance);
  const double found = squared_error(weights, search_group(weights, importance), importance);
  EXPECT_LE(found, least * (1 + kFloatNoise)) << testing::PrintToString(weights);
}

float gaussian(std::mt19937& random) {
  return std::normal_distribution<float>()(random);
}

float laplace(std::mt19937& random) {
  const float magnitude = std::exponential_distribution<float>()(random);
  return std::bernoulli_distribution()(random) ? magnitude : -magnitude;
}

Group random_group(std::mt19937& random, float magnitude,
                   const std::function<float(std::mt19937&)>& draw) {
  Group group;
  for (float& weight : group)
    weight = magnitude * draw(random);
  return group;
}

TEST(GroupSearch, NoScaleOfEitherSignIsBetter) {
  std::mt19937 random(1);
  // From scales that vanish over subnormal ones and ordinary weights to scales that saturate.
  for (const float magnitude : {1e-8f, 1e-6f, 3e-5f, 1e-3f, 0.02f, 1.0f, 1e4f, 6e6f, 1e9f}) {
    for (int round = 0; round < 5; ++round) {
      expect_optimal(random_group(random, magnitude, gaussian));
      expect_optimal(random_group(random, magnitude, laplace));
    }
  }
}

TEST(GroupSearch, NoScaleIsBetterForOddGroups) {
  std::mt19937 random(2);
  Group one_weight{};
  one_weight[5] = -0.3f;
  expect_optimal(one_weight);
  Group equal;
  equal.fill(0.7f);
  expect_optimal(equal);
  Group one_sided = random_group(random, 0.1f, gaussian);
  for (float& weight : one_sided)
    weight = std::abs(weight);
  expect_optimal(one_sided);
  Group outlier = random_group(random, 0.01f, gaussian);
  outlier[15] = 4.0f;
  expect_optimal(outlier);
  Group bf16 = random_group(random, 0.05f, gaussian);  // many equal weights and exact ties
  for (float& weight : bf16)
    weight = std::round(weight * 64) / 64;
  expect_optimal(bf16);
}

TEST(GroupSearch, NoScaleIsBetterForWeightedErrors) {
  std::mt19937 random(3);
  std::array<float, kGroupWeights> importance;
  for (int round = 0; round < 6; ++round) {
    for (float& value : importance)
      value = std::pow(10.0f, 2 * gaussian(random));
    importance[static_cast<size_t>(round)] = 0;
    expect_optimal(random_group(random, 0.02f, gaussian), importance);
  }
}

TEST(GroupSearch, ImportanceLowersTheErrorThatItWeights) {
  std::mt19937 random(4);
  std::array<float, kGroupWeights> importance;
  importance.fill(0.01f);
  importance[3] = 100;
  double weighted = 0;
  double plain = 0;
  for (int round = 0; round < 200; ++round) {
    const Group weights = random_group(random, 0.02f, gaussian);
    weighted += squared_error(weights, search_group(weights, importance), importance);
    plain += squared_error(weights, search_group(weights), importance);
  }
  EXPECT_LT(weighted, 0.2 * plain);
}

TEST(GroupSearch, ImportanceThatIsZeroForAllSaysNothing) {
  std::mt19937 random(5);
  const Group weights = random_group(random, 0.02f, gaussian);
  const std::array<float, kGroupWeights> zeros{};
  const QuantizedGroup with = search_group(weights, zeros);
  const QuantizedGroup without = search_group(weights);
  EXPECT_EQ(with.scale_bits, without.scale_bits);
  EXPECT_EQ(with.codes, without.codes);
}

struct Fit {
  double relative_rms;
  double negative_share;
};

Fit fit_of(const std::function<float(std::mt19937&)>& draw) {
  constexpr int kGroups = 20000;
  std::mt19937 random(6);
  double error = 0;
  double energy = 0;
  int negative = 0;
  for (int i = 0; i < kGroups; ++i) {
    const Group weights = random_group(random, 0.02f, draw);
    const QuantizedGroup group = search_group(weights);
    error += squared_error(weights, group);
    for (const float weight : weights)
      energy += double{weight} * weight;
    negative += (group.scale_bits & 0x8000u) != 0 ? 1 : 0;
  }
  return {std::sqrt(error / energy), double{1} * negative / kGroups};
}

// The bounds are the figures of the mxfp4_16 spec, section 4, for the signed search.
TEST(GroupSearch, GaussianWeightsLoseLittle) {
  const Fit fit = fit_of(gaussian);
  EXPECT_LE(fit.relative_rms, 0.0635);
  EXPECT_GE(fit.relative_rms, 0.0600) << "better than 16 levels can be: is the error measured?";
  EXPECT_NEAR(fit.negative_share, 0.5, 0.02);
}

TEST(GroupSearch, LaplaceWeightsLoseLittle) {
  const Fit fit = fit_of(laplace);
  EXPECT_LE(fit.relative_rms, 0.0705);
  EXPECT_GE(fit.relative_rms, 0.0660) << "better than 16 levels can be: is the error measured?";
  EXPECT_NEAR(fit.negative_share, 0.5, 0.02);
}

TEST(GroupSearch, LevelsTimesAScaleComeBackExactly) {
  for (const float scale : {0.0009765625f, -0.0009765625f, 0x1p-24f, -3 * 0x1p-24f, -512.0f}) {
    Group weights;
    for (size_t i = 0; i < kGroupWeights; ++i)
      weights[i] = scale * kIq4NlCodebook[i];
    const QuantizedGroup group = search_group(weights);
    EXPECT_EQ(f16_to_float(group.scale_bits), scale);
    for (size_t i = 0; i < kGroupWeights; ++i)
      EXPECT_EQ(group.codes[i], i);
  }
}

TEST(GroupSearch, TiesGoToTheLowerIndex) {
  // One weight pins the scale to 1; 7 lies halfway between the levels 1 and 13, -4.5 between -10
  // and 1.
  Group weights;
  weights.fill(-127);
  weights[0] = 7;
  weights[1] = -4.5f;
  std::array<float, kGroupWeights> importance;
  importance.fill(1);
  importance[0] = 0;
  importance[1] = 0;
  const QuantizedGroup group = search_group(weights, importance);
  ASSERT_EQ(f16_to_float(group.scale_bits), 1.0f);
  EXPECT_EQ(group.codes[0], 8);
  EXPECT_EQ(group.codes[1], 7);
}

TEST(GroupSearch, ZeroWeightsHaveScaleZero) {
  const QuantizedGroup group = search_group(Group{});
  EXPECT_EQ(group.scale_bits, 0);
  for (const uint8_t code : group.codes)
    EXPECT_EQ(code, 8);
}

TEST(GroupSearch, ScalesMayBeSubnormal) {
  std::mt19937 random(7);
  const Group weights = random_group(random, 1e-4f, gaussian);
  const QuantizedGroup group = search_group(weights);
  EXPECT_LT(std::abs(f16_to_float(group.scale_bits)), 0x1p-14f);
  EXPECT_NE(group.scale_bits & 0x7FFFu, 0u);
}

TEST(GroupSearch, TheLargestFloatsAreClippedNotInfinite) {
  Group weights;
  weights.fill(std::numeric_limits<float>::max());
  const QuantizedGroup group = search_group(weights);
  // 127 is the outermost level, so the largest value that exists is -127 · -65504.
  EXPECT_EQ(f16_to_float(group.scale_bits), -65504.0f);
  EXPECT_EQ(group.codes[0], 0);
  weights.fill(std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(search_group(weights).scale_bits & 0x7FFFu, 0u);
}

}  // namespace
}  // namespace tetrad
