#include "quant/error_correction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace tetrad {
namespace {

constexpr int64_t kRows = 37;  // no multiple of what is corrected side by side
constexpr int64_t kCols = 96;

struct Case {
  std::vector<float> weights;  // [kRows, kCols]
  std::vector<float> inputs;   // [400, kCols], correlated

  explicit Case(uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    weights.resize(static_cast<size_t>(kRows * kCols));
    for (float& weight : weights)
      weight = 0.02f * normal(random);
    inputs.resize(400 * kCols);
    for (size_t t = 0; t < 400; ++t) {
      const float shared = normal(random);
      for (size_t k = 0; k < kCols; ++k)
        inputs[t * kCols + k] = shared + normal(random) * (k % 5 == 0 ? 3.0f : 0.5f);
    }
  }
  WeightMatrix matrix() const {
    return {.format = WeightFormat::f32,
            .rows = kRows,
            .cols = kCols,
            .data = reinterpret_cast<const std::byte*>(weights.data())};
  }
  Activations x() { return {inputs.data(), 400, kCols}; }

  /// ‖x (W - Ŵ)ᵀ‖ / ‖x Wᵀ‖
  double output_error(const EncodedMatrix& encoded) const {
    const WeightMatrix stored{.format = WeightFormat::mxfp4_16,
                              .rows = kRows,
                              .cols = kCols,
                              .data = encoded.tensors[0].data(),
                              .scales = encoded.tensors[1].data()};
    std::vector<float> row(kCols);
    double error = 0;
    double energy = 0;
    for (int64_t n = 0; n < kRows; ++n) {
      dequantize_row(stored, n, row);
      const float* weight = weights.data() + n * kCols;
      for (size_t t = 0; t < 400; ++t) {
        double lost = 0;
        double wanted = 0;
        for (size_t k = 0; k < kCols; ++k) {
          lost += double{inputs[t * kCols + k]} * (double{weight[k]} - row[k]);
          wanted += double{inputs[t * kCols + k]} * weight[k];
        }
        error += lost * lost;
        energy += wanted * wanted;
      }
    }
    return std::sqrt(error / energy);
  }
};

TEST(ErrorCorrection, MakesOutputsCloserThanRoundingAlone) {
  ThreadPool pool(2);
  Case given(1);
  const WeightMatrix source = given.matrix();
  const std::vector<float> importance = mean_squares(given.x(), pool);
  const double plain = given.output_error(encode_matrix("m", source, {}, {}, pool).value());
  const double weighted =
      given.output_error(encode_matrix("m", source, {}, importance, pool).value());
  const auto corrected = [&](CorrectionReach reach) {
    const InputFactor factor = InputFactor::create(given.x(), reach, 0.03f, pool).value();
    return given.output_error(
        encode_corrected("m", source, factor, ScaleSearch::exact, pool).value());
  };
  const double group = corrected(CorrectionReach::group);
  const double matrix = corrected(CorrectionReach::matrix);
  EXPECT_LT(weighted, 0.99 * plain);
  EXPECT_LT(group, 0.9 * weighted);
  EXPECT_LT(matrix, 0.9 * group);
}

TEST(ErrorCorrection, WithoutCorrelationsIsAboutThePlainSearch) {
  // Inputs that know nothing of each other leave nothing to make up for.
  ThreadPool pool(1);
  Case given(2);
  std::vector<float> unit(kCols * kCols);
  for (size_t k = 0; k < kCols; ++k)
    unit[k * kCols + k] = 1;
  const InputFactor factor =
      InputFactor::create({unit.data(), kCols, kCols}, CorrectionReach::matrix, 0.03f, pool)
          .value();
  const auto corrected =
      encode_corrected("m", given.matrix(), factor, ScaleSearch::exact, pool).value();
  const auto plain = encode_matrix("m", given.matrix(), {}, {}, pool).value();
  EXPECT_NEAR(corrected.loss.squared_error, plain.loss.squared_error,
              1e-5 * plain.loss.squared_error);
}

TEST(ErrorCorrection, DoesNotDependOnTheThreads) {
  Case given(3);
  ThreadPool one(1);
  ThreadPool three(3);
  const auto run = [&](ThreadPool& pool) {
    const InputFactor factor =
        InputFactor::create(given.x(), CorrectionReach::matrix, 0.03f, pool).value();
    return encode_corrected("m", given.matrix(), factor, ScaleSearch::exact, pool).value();
  };
  const EncodedMatrix a = run(one);
  const EncodedMatrix b = run(three);
  EXPECT_EQ(a.tensors, b.tensors);
  EXPECT_EQ(a.loss.squared_error, b.loss.squared_error);
  EXPECT_EQ(a.loss.groups, kRows * kCols / 16);
}

TEST(ErrorCorrection, NamesAWeightThatIsNotFinite) {
  ThreadPool pool(2);
  Case given(4);
  given.weights[static_cast<size_t>(20 * kCols + 7)] = std::nanf("");
  const InputFactor factor =
      InputFactor::create(given.x(), CorrectionReach::group, 0.03f, pool).value();
  const auto encoded =
      encode_corrected("layer.w1", given.matrix(), factor, ScaleSearch::exact, pool);
  ASSERT_FALSE(encoded);
  EXPECT_THAT(encoded.error().message, testing::HasSubstr("\"layer.w1\""));
  EXPECT_THAT(encoded.error().message, testing::HasSubstr("row 20, column 7"));
}

}  // namespace
}  // namespace tetrad
