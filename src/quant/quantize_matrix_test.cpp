#include "quant/quantize_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/dtype.h"

namespace tetrad {
namespace {

WeightMatrix matrix_of(const std::vector<float>& weights, int64_t rows, int64_t cols) {
  return {.format = WeightFormat::f32,
          .rows = rows,
          .cols = cols,
          .data = reinterpret_cast<const std::byte*>(weights.data())};
}

std::vector<float> gaussian_weights(int64_t count, float magnitude) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0f, magnitude);
  std::vector<float> weights(static_cast<size_t>(count));
  for (float& weight : weights)
    weight = normal(random);
  return weights;
}

/// mxfp4_16 spec, section 3, read word for word: the oracle of the packing.
float dequantized(const QuantizedMatrix& matrix, int64_t cols, int64_t n, int64_t k) {
  constexpr std::array<int, 16> kLevels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                           1,    13,   25,  38,  53,  69,  89,  113};
  const auto byte =
      std::to_integer<unsigned>(matrix.packed[static_cast<size_t>(n * cols / 2 + k / 2)]);
  const unsigned index = k % 2 == 0 ? byte & 15u : byte >> 4;
  _Float16 scale;
  std::memcpy(&scale, matrix.scales.data() + 2 * (n * cols / 16 + k / 16), sizeof scale);
  return static_cast<float>(kLevels[index]) * static_cast<float>(scale);
}

TEST(QuantizeMatrix, EveryWeightIsNearWhereTheFormatPutsIt) {
  constexpr int64_t kRows = 5;
  constexpr int64_t kCols = 48;
  const std::vector<float> weights = gaussian_weights(kRows * kCols, 0.02f);
  ThreadPool pool(2);
  const auto result = quantize_matrix("m", matrix_of(weights, kRows, kCols), pool);
  ASSERT_TRUE(result);
  ASSERT_EQ(result->packed.size(), size_t{kRows * kCols / 2});
  ASSERT_EQ(result->scales.size(), size_t{kRows * kCols / 16 * 2});
  double error = 0;
  double energy = 0;
  for (int64_t n = 0; n < kRows; ++n) {
    for (int64_t k = 0; k < kCols; ++k) {
      const double weight = weights[static_cast<size_t>(n * kCols + k)];
      const double difference = weight - dequantized(*result, kCols, n, k);
      // Half the widest gap between levels (24) times a scale of at most about 3.5 sigma / 100.
      EXPECT_LT(std::abs(difference), 12 * 0.0007) << n << ", " << k;
      error += difference * difference;
      energy += weight * weight;
    }
  }
  EXPECT_NEAR(result->loss.relative_rms_error(), std::sqrt(error / energy), 1e-6);
  EXPECT_LT(result->loss.relative_rms_error(), 0.07);
  EXPECT_EQ(result->loss.groups, kRows * kCols / 16);
}

TEST(QuantizeMatrix, TheThreadsDoNotShow) {
  const std::vector<float> weights = gaussian_weights(7 * 64, 0.02f);
  const WeightMatrix source = matrix_of(weights, 7, 64);
  ThreadPool one(1);
  ThreadPool three(3);
  const auto a = quantize_matrix("m", source, one);
  const auto b = quantize_matrix("m", source, three);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->packed, b->packed);
  EXPECT_EQ(a->scales, b->scales);
  EXPECT_EQ(a->loss.squared_error, b->loss.squared_error);
}

TEST(QuantizeMatrix, CountsTheScalesThatAreSpecial) {
  std::vector<float> weights(6 * 16, 0.0f);  // row 0: zeros
  for (size_t i = 0; i < 16; ++i) {
    weights[16 + i] = 1e-5f;                     // subnormal
    weights[32 + i] = 1e-12f;                    // too small for any scale but 0
    weights[48 + i] = 1e9f;                      // too large
    weights[64 + i] = i < 8 ? -127.0f : 113.0f;  // the codebook as it is
    weights[80 + i] = i < 8 ? 0.127f : -0.113f;  // mirrored: a negative scale
  }
  ThreadPool pool(1);
  const auto result = quantize_matrix("m", matrix_of(weights, 6, 16), pool);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->loss.groups, 6);
  EXPECT_EQ(result->loss.zero_scales, 2);
  EXPECT_EQ(result->loss.subnormal_scales, 1);
  EXPECT_EQ(result->loss.clipped_scales, 1);
  // The clipped group and the subnormal one are equal weights, best met by the outermost level
  // -127 and so by a negative scale.
  EXPECT_GE(result->loss.negative_scales, 1);
  EXPECT_LE(result->loss.negative_scales, 3);
}

TEST(QuantizeMatrix, NamesTheFirstWeightThatIsNoNumber) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::vector<float> weights = gaussian_weights(9 * 32, 0.02f);
    weights[4 * 32 + 17] = bad;
    weights[8 * 32] = bad;
    ThreadPool pool(3);
    const auto result = quantize_matrix("layers.3.q_proj", matrix_of(weights, 9, 32), pool);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::corrupt_data);
    EXPECT_NE(result.error().message.find("\"layers.3.q_proj\""), std::string::npos);
    EXPECT_NE(result.error().message.find("row 4, column 17"), std::string::npos);
  }
}

TEST(QuantizeMatrix, ZerosHaveNoError) {
  const std::vector<float> weights(32, 0.0f);
  ThreadPool pool(1);
  const auto result = quantize_matrix("m", matrix_of(weights, 1, 32), pool);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->loss.relative_rms_error(), 0.0);
  EXPECT_EQ(dequantized(*result, 32, 0, 5), 0.0f);
}

}  // namespace
}  // namespace tetrad
