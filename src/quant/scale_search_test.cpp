#include "quant/scale_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "base/sanitized_for_tests.h"
#include "quant/search_groups_for_tests.h"

namespace tetrad::search_test {
namespace {

TEST(ScaleSearch, EveryInstructionSetGivesTheSameBits) {
  constexpr size_t kGroups = kSanitized ? 1'003 : 50'003;
  const std::vector<float> weights = mixed_groups(kGroups, true, 7);
  const std::vector<float> importance = random_importance(weights.size(), 8);
  const QuantKernels& generic = *quant_kernels_generic();
  for (const ScaleSearch search : {ScaleSearch::amax, ScaleSearch::fast, ScaleSearch::exact}) {
    for (const ScaleSigns signs : {ScaleSigns::both, ScaleSigns::positive}) {
      const Quantized plain = quantized(weights, {}, search, signs, generic);
      const Quantized weighted = quantized(weights, importance, search, signs, generic);
      for (auto kernels = available_quant_kernels(); *kernels != nullptr; ++kernels) {
        EXPECT_EQ(quantized(weights, {}, search, signs, **kernels), plain) << (*kernels)->isa;
        EXPECT_EQ(quantized(weights, importance, search, signs, **kernels), weighted)
            << (*kernels)->isa;
      }
    }
  }
}

TEST(ScaleSearch, AGroupDoesNotSeeItsNeighbours) {
  constexpr size_t kGroups = 37;
  const std::vector<float> weights = mixed_groups(kGroups, true, 9);
  const std::vector<float> importance = random_importance(3 * kGroup, 10);  // rows of 3 groups
  for (const ScaleSearch search : {ScaleSearch::amax, ScaleSearch::fast, ScaleSearch::exact}) {
    const Quantized together = quantized(std::span(weights).first(36 * kGroup), importance, search);
    for (size_t g = 0; g < 36; ++g) {
      const Quantized alone =
          quantized(std::span(weights).subspan(g * kGroup, kGroup),
                    std::span(importance).subspan(g % 3 * kGroup, kGroup), search);
      EXPECT_EQ(alone.scale_bits(0), together.scale_bits(g));
      for (size_t i = 0; i < kGroup; ++i)
        EXPECT_EQ(alone.code(0, i), together.code(g, i));
    }
  }
}

TEST(ScaleSearch, ImportanceLowersTheErrorThatItWeights) {
  std::vector<float> importance(kGroup, 0.01f);
  importance[3] = 100;
  const std::vector<float> weights = mixed_groups(200, false, 11);
  for (const ScaleSearch search : {ScaleSearch::fast, ScaleSearch::exact}) {
    const Quantized with = quantized(weights, importance, search);
    const Quantized without = quantized(weights, {}, search);
    double weighted = 0;
    double plain = 0;
    for (size_t g = 0; g < 200; ++g) {
      weighted += squared_error(weights, with, g, importance);
      plain += squared_error(weights, without, g, importance);
    }
    EXPECT_LT(weighted, 0.25 * plain) << scale_search_name(search);
  }
}

TEST(ScaleSearch, ImportanceThatIsZeroForAllSaysNothing) {
  std::vector<float> weights = mixed_groups(1, false, 12);
  weights[5] = 0;
  std::vector<float> importance(kGroup, 0.0f);
  for (const ScaleSearch search : {ScaleSearch::fast, ScaleSearch::exact}) {
    EXPECT_EQ(quantized(weights, importance, search), quantized(weights, {}, search));
    importance[5] = 3;  // of the zero alone
    EXPECT_EQ(quantized(weights, importance, search), quantized(weights, {}, search));
  }
}

struct Fit {
  double relative_rms;
  double negative_share;
};

Fit fit_of(Draw draw, ScaleSearch search, ScaleSigns signs = ScaleSigns::both) {
  constexpr size_t kGroups = 50'000;
  std::mt19937 random(13);
  std::vector<float> weights(kGroups * kGroup);
  double energy = 0;
  for (float& weight : weights) {
    weight = 0.02f * draw(random);
    energy += double{weight} * weight;
  }
  const Quantized found = quantized(weights, {}, search, signs);
  double error = 0;
  double negative = 0;
  for (size_t g = 0; g < kGroups; ++g) {
    error += squared_error(weights, found, g);
    negative += found.scale(g) < 0 ? 1 : 0;
  }
  return {std::sqrt(error / energy), negative / kGroups};
}

// The bounds are the figures of the mxfp4_16 spec, section 4, for the signed search.
void expect_fit(const char* name, Draw draw, double most, double least) {
  for (const ScaleSearch search : {ScaleSearch::exact, ScaleSearch::fast}) {
    const Fit fit = fit_of(draw, search);
    EXPECT_LE(fit.relative_rms, most);
    EXPECT_GE(fit.relative_rms, least) << "better than 16 levels can be: is the error measured?";
    EXPECT_NEAR(fit.negative_share, 0.5, 0.02);
  }
  const double positive = fit_of(draw, ScaleSearch::exact, ScaleSigns::positive).relative_rms;
  const double amax = fit_of(draw, ScaleSearch::amax).relative_rms;
  EXPECT_GT(positive, 1.05 * most);
  EXPECT_GT(amax, 1.2 * positive);
  std::cout << name << ": exact " << fit_of(draw, ScaleSearch::exact).relative_rms << ", fast "
            << fit_of(draw, ScaleSearch::fast).relative_rms << ", positive scales only " << positive
            << ", amax " << amax << '\n';
}

TEST(ScaleSearch, GaussianWeightsLoseLittle) {
  expect_fit("relative RMS error of Gaussian weights", gaussian, 0.0635, 0.0600);
}

TEST(ScaleSearch, LaplaceWeightsLoseLittle) {
  expect_fit("relative RMS error of Laplace weights", laplace, 0.0705, 0.0660);
}

TEST(ScaleSearch, LevelsTimesAScaleComeBackExactly) {
  for (const float scale : {0.0009765625f, -0.0009765625f, 0x1p-24f, -3 * 0x1p-24f, -512.0f}) {
    Group weights;
    for (size_t i = 0; i < kGroup; ++i)
      weights[i] = scale * kIq4NlCodebook[i];
    for (const ScaleSearch search : {ScaleSearch::fast, ScaleSearch::exact}) {
      const Quantized found = quantized(weights, {}, search);
      EXPECT_EQ(found.scale(0), scale);
      for (size_t i = 0; i < kGroup; ++i)
        EXPECT_EQ(found.code(0, i), i);
    }
  }
}

TEST(ScaleSearch, TiesGoToTheLowerIndex) {
  // The other weights pin the scale to 1; the first two lie halfway between levels.
  for (unsigned code = 0; code < 15; ++code) {
    Group weights;
    weights.fill(-127);
    weights[0] = 0.5f * static_cast<float>(kIq4NlCodebook[code] + kIq4NlCodebook[code + 1]);
    weights[1] = std::nextafter(weights[0], 1000.0f);
    Group importance;
    importance.fill(1);
    importance[0] = importance[1] = 0;
    for (auto kernels = available_quant_kernels(); *kernels != nullptr; ++kernels) {
      const Quantized found =
          quantized(weights, importance, ScaleSearch::exact, ScaleSigns::both, **kernels);
      ASSERT_EQ(found.scale(0), 1.0);
      EXPECT_EQ(found.code(0, 0), code);
      EXPECT_EQ(found.code(0, 1), code + 1);
    }
  }
}

TEST(ScaleSearch, ZeroWeightsHaveScaleZero) {
  for (const ScaleSearch search : {ScaleSearch::amax, ScaleSearch::fast, ScaleSearch::exact}) {
    const Quantized found = quantized(Group{}, {}, search);
    EXPECT_EQ(found.scale_bits(0), 0);
    for (size_t i = 0; i < kGroup; ++i)
      EXPECT_EQ(found.code(0, i), 8u);
  }
}

TEST(ScaleSearch, ScalesMayBeSubnormal) {
  std::mt19937 random(14);
  Group weights;
  for (float& weight : weights)
    weight = 1e-4f * gaussian(random);
  const Quantized found = quantized(weights);
  EXPECT_LT(std::abs(found.scale(0)), 0x1p-14);
  EXPECT_NE(found.scale(0), 0.0);
}

TEST(ScaleSearch, TheLargestFloatsAreClippedNotInfinite) {
  Group weights;
  weights.fill(std::numeric_limits<float>::max());
  // 127 is the outermost level, so the largest value that exists is -127 · -65504.
  const Quantized exact = quantized(weights);
  EXPECT_EQ(exact.scale(0), -65504.0);
  EXPECT_EQ(exact.code(0, 0), 0u);
  EXPECT_EQ(std::abs(quantized(weights, {}, ScaleSearch::fast).scale(0)), 65504.0);
  EXPECT_EQ(quantized(weights, {}, ScaleSearch::amax).scale(0), 65504.0);
}

TEST(ScaleSearch, WhatIsTooSmallForFp16BecomesZero) {
  Group weights;
  weights.fill(std::numeric_limits<float>::denorm_min());
  for (const ScaleSearch search : {ScaleSearch::amax, ScaleSearch::fast, ScaleSearch::exact}) {
    EXPECT_EQ(quantized(weights, {}, search).scale(0), 0.0);
    EXPECT_EQ(quantized(weights, {}, search).code(0, 0), 8u);
  }
}

TEST(ScaleSearch, AmaxIsTheLargestMagnitudeOver127) {
  Group weights{};
  weights[2] = 0.5f;
  weights[9] = -63.5f;
  const Quantized found = quantized(weights, {}, ScaleSearch::amax);
  EXPECT_EQ(found.scale(0), 0.5);
  EXPECT_EQ(found.code(0, 9), 0u);
  EXPECT_EQ(found.code(0, 2), 8u);
}

}  // namespace
}  // namespace tetrad::search_test
