#include "quant/encode_matrix.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace tetrad {
namespace {

constexpr std::array<TargetFormat, 5> kEveryFormat = {TargetFormat::mxfp4_16, TargetFormat::mxfp4,
                                                      TargetFormat::nvfp4, TargetFormat::fp8_block,
                                                      TargetFormat::bf16};

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

EncodedMatrix encoded(const std::vector<float>& weights, int64_t rows, int64_t cols,
                      TargetFormat format, int threads = 2) {
  ThreadPool pool(threads);
  auto result = encode_matrix("m", matrix_of(weights, rows, cols), {.format = format}, {}, pool);
  EXPECT_TRUE(result);
  return result ? std::move(*result) : EncodedMatrix{};
}

template <class T>
T element(const std::vector<std::byte>& tensor, int64_t index) {
  T value;
  std::memcpy(&value, tensor.data() + static_cast<size_t>(index) * sizeof value, sizeof value);
  return value;
}

unsigned nibble(const std::vector<std::byte>& packed, int64_t cols, int64_t n, int64_t k) {
  const auto byte = element<uint8_t>(packed, n * cols / 2 + k / 2);
  return k % 2 == 0 ? byte & 15u : byte >> 4u;
}

double e2m1(unsigned code) {
  constexpr std::array<double, 8> kMagnitudes = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return (code & 8u) != 0 ? -kMagnitudes[code & 7u] : kMagnitudes[code & 7u];
}

double e4m3(uint8_t bits) {
  const int exponent = bits >> 3 & 15;
  const int fraction = bits & 7;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

/// mxfp4_16 spec, sections 3 and 7, read word for word: the oracle of the layouts.
double stored(const EncodedMatrix& matrix, TargetFormat format, int64_t cols, int64_t n,
              int64_t k) {
  const auto& tensors = matrix.tensors;
  switch (format) {
    case TargetFormat::mxfp4_16: {
      constexpr std::array<int, 16> kLevels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
      const auto scale = element<_Float16>(tensors[1], n * (cols / 16) + k / 16);
      return kLevels[nibble(tensors[0], cols, n, k)] * static_cast<double>(scale);
    }
    case TargetFormat::mxfp4:
      return e2m1(nibble(tensors[0], cols, n, k)) *
             std::exp2(element<uint8_t>(tensors[1], n * (cols / 32) + k / 32) - 127);
    case TargetFormat::nvfp4:
      return e2m1(nibble(tensors[0], cols, n, k)) *
             e4m3(element<uint8_t>(tensors[1], n * (cols / 16) + k / 16)) /
             element<float>(tensors[2], 0);
    case TargetFormat::fp8_block:
      return e4m3(element<uint8_t>(tensors[0], n * cols + k)) *
             element<float>(tensors[1], n / 128 * ((cols + 127) / 128) + k / 128);
    case TargetFormat::bf16: {
      const uint32_t bits = uint32_t{element<uint16_t>(tensors[0], n * cols + k)} << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
  }
  return 0;
}

struct MeasuredLoss {
  double energy = 0;
  double squared_error = 0;
  double relative_rms() const { return std::sqrt(squared_error / energy); }
};

MeasuredLoss measured_loss(const std::vector<float>& weights, const EncodedMatrix& matrix,
                           TargetFormat format, int64_t cols) {
  MeasuredLoss loss;
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    const double difference = weights[i] - stored(matrix, format, cols, index / cols, index % cols);
    loss.energy += double{weights[i]} * weights[i];
    loss.squared_error += difference * difference;
  }
  return loss;
}

TEST(EncodeMatrix, WhatIsStoredIsNearTheWeights) {
  // 4-bit floats lose more than the codebook; E4M3 has 4 significant bits and BF16 has 8.
  constexpr std::array<std::pair<double, double>, 5> kRelativeRms = {
      {{0.060, 0.066}, {0.10, 0.15}, {0.08, 0.105}, {0.02, 0.03}, {0.0010, 0.0020}}};
  constexpr int64_t kRows = 131;  // one block of 128 and a part of one
  constexpr int64_t kCols = 160;
  const std::vector<float> weights = gaussian_weights(kRows * kCols, 0.02f);
  for (size_t i = 0; i < kEveryFormat.size(); ++i) {
    const TargetFormat format = kEveryFormat[i];
    SCOPED_TRACE(target_format_name(format));
    const EncodedMatrix matrix = encoded(weights, kRows, kCols, format);
    const auto layout = encoded_layout(format, kRows, kCols);
    ASSERT_EQ(matrix.tensors.size(), layout.size());
    for (size_t t = 0; t < layout.size(); ++t)
      EXPECT_EQ(std::ssize(matrix.tensors[t]), layout[t].bytes()) << layout[t].suffix;
    const MeasuredLoss loss = measured_loss(weights, matrix, format, kCols);
    EXPECT_GE(loss.relative_rms(), kRelativeRms[i].first);
    EXPECT_LE(loss.relative_rms(), kRelativeRms[i].second);
    EXPECT_NEAR(matrix.loss.energy, loss.energy, 1e-9 * loss.energy);
    EXPECT_NEAR(matrix.loss.squared_error, loss.squared_error, 1e-5 * loss.squared_error);
  }
}

TEST(EncodeMatrix, OurOwnReaderSeesWhatIsStored) {
  constexpr int64_t kRows = 3;
  constexpr int64_t kCols = 96;
  const std::vector<float> weights = gaussian_weights(kRows * kCols, 0.5f);
  for (const TargetFormat format : {TargetFormat::mxfp4, TargetFormat::nvfp4}) {
    const EncodedMatrix matrix = encoded(weights, kRows, kCols, format);
    const bool is_nvfp4 = format == TargetFormat::nvfp4;
    const WeightMatrix view{
        .format = is_nvfp4 ? WeightFormat::nvfp4 : WeightFormat::mxfp4,
        .rows = kRows,
        .cols = kCols,
        .data = matrix.tensors[0].data(),
        .scales = matrix.tensors[1].data(),
        .scale_layout = {.dtype = is_nvfp4 ? DType::f8_e4m3 : DType::f8_e8m0,
                         .cols_per_scale = is_nvfp4 ? 16 : 32},
        .global_scale = is_nvfp4 ? element<float>(matrix.tensors[2], 0) : 1.0f,
        .divide_by_global_scale = is_nvfp4,
    };
    std::vector<float> row(kCols);
    for (int64_t n = 0; n < kRows; ++n) {
      dequantize_row(view, n, row);
      for (int64_t k = 0; k < kCols; ++k) {
        const double value = stored(matrix, format, kCols, n, k);
        EXPECT_NEAR(row[static_cast<size_t>(k)], value, 1e-6 * std::abs(value));
      }
    }
  }
}

TEST(EncodeMatrix, TheThreadsDoNotShow) {
  constexpr int64_t kRows = 391;  // three blocks and a part of one
  const std::vector<float> weights = gaussian_weights(kRows * 64, 0.02f);
  for (const TargetFormat format : kEveryFormat) {
    const EncodedMatrix one = encoded(weights, kRows, 64, format, 1);
    const EncodedMatrix three = encoded(weights, kRows, 64, format, 3);
    EXPECT_EQ(one.tensors, three.tensors) << target_format_name(format);
    EXPECT_EQ(one.loss.squared_error, three.loss.squared_error) << target_format_name(format);
  }
}

TEST(EncodeMatrix, ImportanceIsThatOfTheColumns) {
  constexpr int64_t kRows = 40;
  constexpr int64_t kCols = 48;
  const std::vector<float> weights = gaussian_weights(kRows * kCols, 0.02f);
  std::vector<float> importance(kCols, 1.0f);
  importance[37] = 1000;
  ThreadPool pool(2);
  const auto with =
      encode_matrix("m", matrix_of(weights, kRows, kCols), {}, importance, pool).value();
  const EncodedMatrix without = encoded(weights, kRows, kCols, TargetFormat::mxfp4_16);
  double of_column = 0;
  double of_column_without = 0;
  const auto squared = [&](const EncodedMatrix& matrix, int64_t n, int64_t k) {
    const double difference = weights[static_cast<size_t>(n * kCols + k)] -
                              stored(matrix, TargetFormat::mxfp4_16, kCols, n, k);
    return difference * difference;
  };
  for (int64_t n = 0; n < kRows; ++n) {
    of_column += squared(with, n, 37);
    of_column_without += squared(without, n, 37);
    for (int64_t k = 0; k < 32; ++k)  // other groups do not notice
      EXPECT_EQ(squared(with, n, k), squared(without, n, k));
  }
  EXPECT_LT(of_column, 0.1 * of_column_without);
}

TEST(EncodeMatrix, CountsTheScalesThatAreSpecial) {
  std::vector<float> weights(6 * 16, 0.0f);  // row 0: zeros
  for (size_t i = 0; i < 16; ++i) {
    weights[16 + i] = 1e-5f;                     // subnormal
    weights[32 + i] = 1e-12f;                    // too small for any scale but 0
    weights[48 + i] = 1e9f;                      // too large
    weights[64 + i] = i < 8 ? -127.0f : 113.0f;  // the codebook as it is
    weights[80 + i] = i < 8 ? 0.127f : -0.113f;  // mirrored: a negative scale
  }
  const EncodedMatrix result = encoded(weights, 6, 16, TargetFormat::mxfp4_16);
  EXPECT_EQ(result.loss.groups, 6);
  EXPECT_EQ(result.loss.zero_scales, 2);
  EXPECT_EQ(result.loss.subnormal_scales, 1);
  EXPECT_EQ(result.loss.clipped_scales, 1);
  // The clipped group and the subnormal one are equal weights, best met by the outermost level
  // -127 and so by a negative scale.
  EXPECT_GE(result.loss.negative_scales, 1);
  EXPECT_LE(result.loss.negative_scales, 3);
}

TEST(EncodeMatrix, Mxfp4RoundsToEvenAndSaturates) {
  // The largest magnitude is 7, so the shared scale is 1 and 7 saturates at 6.
  std::vector<float> weights(32, 0.0f);
  const std::array<float, 12> given = {7,     0.25f, 0.75f, 1.25f,  1.75f, 2.5f,
                                       -3.5f, 5,     4.99f, -0.26f, -0.0f, -6.5f};
  const std::array<float, 12> expected = {6, 0, 1, 1, 2, 2, -4, 4, 4, -0.5f, 0, -6};
  std::copy(given.begin(), given.end(), weights.begin());
  const EncodedMatrix matrix = encoded(weights, 1, 32, TargetFormat::mxfp4);
  EXPECT_EQ(element<uint8_t>(matrix.tensors[1], 0), 127);
  for (size_t k = 0; k < given.size(); ++k) {
    EXPECT_EQ(stored(matrix, TargetFormat::mxfp4, 32, 0, static_cast<int64_t>(k)), expected[k])
        << given[k];
  }
}

TEST(EncodeMatrix, Mxfp4SharesTheExponentOfTheLargest) {
  constexpr std::array<std::pair<float, int>, 5> kCases = {
      {{4.0f, 127}, {3.99f, 126}, {8.0f, 128}, {0x1p-149f, 0}, {3e38f, 252}}};
  for (const auto& [largest, exponent] : kCases) {
    std::vector<float> weights(32, 0.0f);
    weights[31] = -largest;
    const EncodedMatrix matrix = encoded(weights, 1, 32, TargetFormat::mxfp4);
    EXPECT_EQ(element<uint8_t>(matrix.tensors[1], 0), exponent) << largest;
  }
}

TEST(EncodeMatrix, Nvfp4UsesTheWholeRangeOfItsScales) {
  std::vector<float> weights = gaussian_weights(2 * 32, 0.02f);
  weights[40] = -3;  // the largest, whose block has the scale 448
  const EncodedMatrix matrix = encoded(weights, 2, 32, TargetFormat::nvfp4);
  EXPECT_EQ(element<float>(matrix.tensors[2], 0), 448.0f * 6 / 3);
  EXPECT_EQ(e4m3(element<uint8_t>(matrix.tensors[1], 2)), 448);
  EXPECT_EQ(stored(matrix, TargetFormat::nvfp4, 32, 1, 8), -3);
}

TEST(EncodeMatrix, Fp8BlocksHaveAScaleEach) {
  constexpr int64_t kRows = 130;
  constexpr int64_t kCols = 150;
  std::vector<float> weights(kRows * kCols, 0.0f);
  weights[5 * kCols + 127] = 448;        // block 0, 0
  weights[5 * kCols + 128] = -896;       // block 0, 1
  weights[129 * kCols + 0] = 1;          // block 1, 0; block 1, 1 is all zeros
  weights[128 * kCols + 3] = 1.0f / 64;  // of which 448 steps go to 1
  const EncodedMatrix matrix = encoded(weights, kRows, kCols, TargetFormat::fp8_block);
  EXPECT_EQ(element<float>(matrix.tensors[1], 0), 1);
  EXPECT_EQ(element<float>(matrix.tensors[1], 1), 2);
  EXPECT_EQ(element<float>(matrix.tensors[1], 2), 1.0f / 448);
  EXPECT_EQ(matrix.loss.groups, 4);
  EXPECT_EQ(matrix.loss.zero_scales, 1);
  EXPECT_EQ(stored(matrix, TargetFormat::fp8_block, kCols, 5, 128), -896);
  EXPECT_NEAR(stored(matrix, TargetFormat::fp8_block, kCols, 128, 3), 1.0 / 64, 1e-9);
}

TEST(EncodeMatrix, Fp8BlocksOfWeightsBelowAnyScaleAreZeros) {
  const std::vector<float> weights(16 * 16, 0x1p-149f);
  const EncodedMatrix matrix = encoded(weights, 16, 16, TargetFormat::fp8_block);
  for (int64_t n = 0; n < 16; ++n)
    EXPECT_EQ(stored(matrix, TargetFormat::fp8_block, 16, n, n), 0);
}

TEST(EncodeMatrix, NamesTheFirstWeightThatIsNoNumber) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::vector<float> weights = gaussian_weights(9 * 32, 0.02f);
    weights[4 * 32 + 17] = bad;
    weights[8 * 32] = bad;
    ThreadPool pool(3);
    for (const TargetFormat format : kEveryFormat) {
      const auto result =
          encode_matrix("layers.3.q_proj", matrix_of(weights, 9, 32), {.format = format}, {}, pool);
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, ErrorCode::corrupt_data);
      EXPECT_NE(result.error().message.find("\"layers.3.q_proj\""), std::string::npos);
      EXPECT_NE(result.error().message.find("row 4, column 17"), std::string::npos);
    }
  }
}

TEST(EncodeMatrix, SaysWhichGroupsAFormatNeeds) {
  const std::vector<float> weights(48, 1.0f);
  ThreadPool pool(1);
  const auto result =
      encode_matrix("m", matrix_of(weights, 1, 48), {.format = TargetFormat::mxfp4}, {}, pool);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::unsupported);
  EXPECT_NE(result.error().message.find("48"), std::string::npos);
  EXPECT_NE(result.error().message.find("groups of 32"), std::string::npos);
  EXPECT_FALSE(encode_matrix("m", matrix_of(weights, 2, 24), {}, {}, pool));
}

TEST(EncodeMatrix, ZerosHaveNoError) {
  const std::vector<float> weights(2 * 32, 0.0f);
  for (const TargetFormat format : kEveryFormat) {
    const EncodedMatrix result = encoded(weights, 2, 32, format);
    EXPECT_EQ(result.loss.relative_rms_error(), 0.0);
    EXPECT_EQ(stored(result, format, 32, 1, 5), 0.0) << target_format_name(format);
  }
}

}  // namespace
}  // namespace tetrad
