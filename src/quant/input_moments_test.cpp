#include "quant/input_moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "quant/quant_kernels.h"

namespace tetrad {
namespace {

/// Correlated rows: each column leans on the one before it.
std::vector<float> correlated_rows(int64_t rows, int64_t cols, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(rows * cols));
  for (int64_t t = 0; t < rows; ++t) {
    float before = 0;
    for (int64_t k = 0; k < cols; ++k) {
      before = 0.7f * before + normal(random) * (k % 7 == 3 ? 4.0f : 1.0f);
      x[static_cast<size_t>(t * cols + k)] = before;
    }
  }
  return x;
}

/// eᵀHe with H = Σ x xᵀ + λI, straight from the definition; with reach `group` the blocks alone.
double quadratic_form(Activations x, CorrectionReach reach, double damping,
                      const std::vector<double>& e) {
  double trace = 0;
  for (int64_t i = 0; i < x.rows * x.cols; ++i)
    trace += double{x.data[i]} * x.data[i];
  double sum = 0;
  for (int64_t t = 0; t < x.rows; ++t) {
    double whole = 0;
    for (int64_t begin = 0; begin < x.cols; begin += 16) {
      double dot = 0;
      for (int64_t k = begin; k < begin + 16; ++k)
        dot += e[static_cast<size_t>(k)] * x.row(t)[k];
      whole += dot;
      if (reach == CorrectionReach::group) sum += dot * dot;
    }
    if (reach == CorrectionReach::matrix) sum += whole * whole;
  }
  for (const double error : e)
    sum += damping * trace / static_cast<double>(x.cols) * error * error;
  return sum;
}

double by_factor(const InputFactor& factor, const std::vector<double>& e) {
  double sum = 0;
  for (int64_t i = 0; i < factor.cols(); ++i) {
    const int64_t group = i / 16;
    const int64_t end =
        factor.reach() == CorrectionReach::matrix ? factor.cols() : (group + 1) * 16;
    double inner = e[static_cast<size_t>(i)];
    for (int64_t k = i + 1; k < end; ++k)
      inner += double{factor.factors(group, k)[i % 16]} * e[static_cast<size_t>(k)];
    sum += double{factor.pivots(group)[i % 16]} * inner * inner;
  }
  return sum;
}

class InputFactorOf : public testing::TestWithParam<CorrectionReach> {};

TEST_P(InputFactorOf, GivesTheQuadraticFormOfTheSecondMoments) {
  ThreadPool pool(2);
  // More columns than rows, and more than the 64 that are factored in one go.
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{300, 16}, {40, 208}, {500, 144}}) {
    std::vector<float> values = correlated_rows(rows, cols, 5);
    const Activations x{values.data(), rows, cols};
    const auto factor = InputFactor::create(x, GetParam(), 0.03f, pool);
    ASSERT_TRUE(factor) << factor.error().message;
    std::mt19937 random(6);
    std::normal_distribution<double> normal;
    for (int i = 0; i < 20; ++i) {
      std::vector<double> e(static_cast<size_t>(cols));
      for (double& value : e)
        value = normal(random);
      const double expected = quadratic_form(x, GetParam(), 0.03, e);
      EXPECT_NEAR(by_factor(*factor, e), expected, 1e-4 * expected) << rows << " x " << cols;
    }
  }
}

TEST_P(InputFactorOf, IsTheSameForAnyNumberOfThreads) {
  std::vector<float> values = correlated_rows(90, 176, 7);
  const Activations x{values.data(), 90, 176};
  ThreadPool one(1);
  ThreadPool three(3);
  const InputFactor a = InputFactor::create(x, GetParam(), 0.03f, one).value();
  const InputFactor b = InputFactor::create(x, GetParam(), 0.03f, three).value();
  for (int64_t i = 0; i < a.cols(); ++i) {
    const int64_t group = i / 16;
    EXPECT_EQ(a.pivots(group)[i % 16], b.pivots(group)[i % 16]);
    const int64_t end = GetParam() == CorrectionReach::matrix ? a.cols() : (group + 1) * 16;
    for (int64_t k = i + 1; k < end; ++k)
      ASSERT_EQ(a.factors(group, k)[i % 16], b.factors(group, k)[i % 16]) << i << " " << k;
  }
}

INSTANTIATE_TEST_SUITE_P(Reach, InputFactorOf,
                         testing::Values(CorrectionReach::group, CorrectionReach::matrix),
                         [](const auto& reach) {
                           return reach.param == CorrectionReach::group ? "group" : "matrix";
                         });

TEST(InputFactor, OfNoActivationsTreatsAllColumnsAlike) {
  ThreadPool pool(1);
  std::vector<float> zeros(32 * 4);
  const InputFactor factor =
      InputFactor::create({zeros.data(), 4, 32}, CorrectionReach::matrix, 0.03f, pool).value();
  for (int64_t i = 0; i < 32; ++i)
    EXPECT_EQ(factor.pivots(i / 16)[i % 16], 1.0f);
  for (int64_t k = 1; k < 16; ++k)
    EXPECT_EQ(factor.factors(0, k)[0], 0.0f);
}

TEST(InputFactor, RefusesActivationsThatAreNotFinite) {
  ThreadPool pool(1);
  std::vector<float> values(32 * 4, 1.0f);
  values[37] = std::nanf("");
  const auto factor =
      InputFactor::create({values.data(), 4, 32}, CorrectionReach::matrix, 0.03f, pool);
  ASSERT_FALSE(factor);
  EXPECT_NE(factor.error().message.find("not finite"), std::string::npos);
}

TEST(MeanSquares, AreTheDiagonal) {
  ThreadPool pool(2);
  std::vector<float> values = {1, 2, 3, -4};
  EXPECT_EQ(mean_squares({values.data(), 2, 2}, pool), (std::vector<float>{5, 10}));
}

TEST(CorrectionKernels, GiveTheSameBitsOnEveryInstructionSet) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  const auto numbers = [&](size_t count) {
    std::vector<float> values(count);
    for (float& value : values)
      value = normal(random);
    return values;
  };
  const std::vector<float> a = numbers(50 * 16);
  const std::vector<float> b = numbers(50 * 16);
  const std::vector<float> weights = numbers(256);
  const std::vector<float> targets = numbers(256);
  const std::vector<float> factors = numbers(256);
  const std::vector<float> pivots(16, 1.5f);
  std::vector<float> scales(16, 0.0123f);
  scales[3] = -0.02f;
  scales[5] = 0;
  std::vector<float> first_sums;
  RoundedGroup first;
  for (auto next = available_quant_kernels(); *next != nullptr; ++next) {
    const QuantKernels* kernels = *next;
    std::vector<float> sums(128, 1.0f);
    kernels->accumulate(a.data() + 8, 16, b.data(), 50, sums.data());
    RoundedGroup rounded;
    kernels->round_group({.weights = weights.data(),
                          .targets = targets.data(),
                          .factors = factors.data(),
                          .pivots = pivots.data(),
                          .scales = scales.data()},
                         rounded);
    if (first_sums.empty()) {
      first_sums = sums;
      first = rounded;
      for (size_t i = 0; i < 256; ++i) {
        EXPECT_GE(rounded.codes[i], 0);
        EXPECT_LE(rounded.codes[i], 15);
      }
      // A scale of zero stores zeros: the errors are the weights.
      EXPECT_EQ(rounded.errors[5], weights[5]);
      continue;
    }
    EXPECT_EQ(sums, first_sums);
    EXPECT_TRUE(std::equal(first.errors, first.errors + 256, rounded.errors));
    EXPECT_TRUE(std::equal(first.codes, first.codes + 256, rounded.codes));
    EXPECT_TRUE(std::equal(first.cost, first.cost + 16, rounded.cost));
  }
}

}  // namespace
}  // namespace tetrad
