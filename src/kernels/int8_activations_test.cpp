// mxfp4_16 weights with 8-bit activations: what the tests of all operations (cpu_kernels_test.cpp,
// batch_invariance_test.cpp) do not see.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/int8_block.h"
#include "kernels/kernels.h"
#include "kernels/kernels_test_util.h"

namespace tetrad {
namespace {

using testing_kernels::make_kernels;
using testing_kernels::Matrix;
using testing_kernels::PackedMatrix;

class Int8Activations : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    kernels_ = make_kernels(GetParam());
    if (kernels_ == nullptr) GTEST_SKIP() << "no " << GetParam() << " on this machine";
  }

  Matrix product(const PackedMatrix& weight, Matrix& x) {
    Matrix out(x.all().rows, weight.view().rows);
    kernels_->linear(weight.view(), x.all(), out.all());
    return out;
  }

  std::mt19937 random_{7};
  std::unique_ptr<Kernels> kernels_;
};

TEST_P(Int8Activations, AreCloseToFloats) {
  const PackedMatrix weight(WeightFormat::mxfp4_16, 64, 3072, random_);
  Matrix x(5, 3072, random_);
  const Matrix actual = product(weight, x);
  Matrix exact(5, 64);
  make_reference_kernels()->linear(weight.view(), x.all(), exact.all());
  double error = 0, norm = 0;
  for (size_t i = 0; i < exact.values().size(); ++i) {
    error += std::pow(static_cast<double>(actual.values()[i]) - exact.values()[i], 2);
    norm += std::pow(static_cast<double>(exact.values()[i]), 2);
  }
  // Rounding to 1/254 of a group's largest, which of 16 normal numbers is about 1.77 deviations.
  EXPECT_LT(std::sqrt(error / norm), 1.3 * 1.77 / 127 / std::sqrt(12.0));
  EXPECT_GT(error, 0);
}

/// One number alone decides its group's scale, and no other's.
TEST_P(Int8Activations, AnOutlierSpoilsItsGroupOnly) {
  const PackedMatrix weight(WeightFormat::mxfp4_16, 8, 512, random_);
  Matrix x(1, 512);
  x.values()[17] = 1e6f;
  x.values()[40] = 1e-6f;
  const Matrix actual = product(weight, x);
  std::vector<float> row(512);
  for (int64_t n = 0; n < 8; ++n) {
    dequantize_row(weight.view(), n, row);
    const double expected = row[17] * 1e6 + row[40] * 1e-6;
    EXPECT_NEAR(actual.at(0, n), expected, std::abs(expected) * 1e-6 + 1e-12) << n;
  }
  x.values()[17] = 0;
  const Matrix small = product(weight, x);
  for (int64_t n = 0; n < 8; ++n) {
    dequantize_row(weight.view(), n, row);
    EXPECT_NEAR(small.at(0, n), row[40] * 1e-6, std::abs(row[40]) * 1e-12) << n;
  }
}

TEST_P(Int8Activations, WhatIsNoNumberStaysNone) {
  const PackedMatrix weight(WeightFormat::mxfp4_16, 3, 272, random_);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
    for (const size_t place : {size_t{0}, size_t{15}, size_t{271}}) {
      Matrix x(2, 272, random_);
      x.values()[place] = bad;
      const Matrix out = product(weight, x);
      for (int64_t n = 0; n < 3; ++n) {
        EXPECT_TRUE(std::isnan(out.at(0, n))) << bad << " at " << place;
        EXPECT_TRUE(std::isfinite(out.at(1, n)));
      }
    }
  }
}

TEST_P(Int8Activations, ZeroAndNearlyZeroAreZero) {
  const PackedMatrix weight(WeightFormat::mxfp4_16, 4, 32, random_);
  for (const float small : {0.0f, -0.0f, 1e-45f, -1e-38f}) {
    Matrix x(1, 32, std::vector<float>(32, small));
    EXPECT_EQ(product(weight, x).values(), std::vector<float>(4));
  }
}

/// All codes and both nibbles, with levels at both ends of a byte.
TEST_P(Int8Activations, TakeAnyCodebook) {
  PackedMatrix weight(WeightFormat::mxfp4_16, 5, 256, random_);
  weight.view().codebook = {-128, -127, -100, -64, -3, -2, -1, 0, 1, 2, 3, 5, 64, 100, 126, 127};
  Matrix x(3, 256, random_);
  for (size_t k = 0; k < x.values().size(); ++k)
    x.values()[k] = static_cast<float>(static_cast<int>(random_() % 255) - 127);
  for (size_t k = 0; k < x.values().size(); k += 16)
    x.values()[k] = k % 32 == 0 ? 127.0f : -127.0f;  // so the scale is 1 and nothing is lost
  const Matrix actual = product(weight, x);
  std::vector<float> row(256);
  for (int64_t n = 0; n < 5; ++n) {
    dequantize_row(weight.view(), n, row);
    for (int64_t t = 0; t < 3; ++t) {
      double expected = 0, magnitude = 0;
      for (int64_t k = 0; k < 256; ++k) {
        const double product = static_cast<double>(row[static_cast<size_t>(k)]) * x.at(t, k);
        expected += product;
        magnitude += std::abs(product);
      }
      EXPECT_NEAR(actual.at(t, n), expected, 3e-7 * magnitude);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Int8Activations,
                         testing::Values("reference_int8", "generic_int8", "avx2_int8",
                                         "avx512_int8"),
                         [](const auto& test) { return test.param; });

TEST(Int8ActivationsOnTwoInstructionSets, GiveTheSameBits) {
  const auto avx2 = make_kernels("avx2_int8");
  const auto avx512 = make_kernels("avx512_int8");
  if (avx2 == nullptr || avx512 == nullptr) GTEST_SKIP() << "this machine has not both";
  std::mt19937 random(11);
  for (const auto& [rows, cols, tokens] :
       {std::array<int64_t, 3>{33, 1552, 1}, {50, 3072, 7}, {17, 784, 60}}) {
    const PackedMatrix weight(WeightFormat::mxfp4_16, rows, cols, random);
    Matrix x(tokens, cols, random, 30.0f);
    Matrix narrow(tokens, rows), wide(tokens, rows);
    avx2->linear(weight.view(), x.all(), narrow.all());
    avx512->linear(weight.view(), x.all(), wide.all());
    EXPECT_EQ(narrow.values(), wide.values()) << rows << " x " << cols;
  }
}

}  // namespace
}  // namespace tetrad
