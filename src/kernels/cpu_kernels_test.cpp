// Each instruction set against the reference, one operation after the other, on random data.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "base/sanitized_for_tests.h"
#include "kernels/cpu/expert_groups.h"
#include "kernels/kernels.h"
#include "kernels/kernels_test_util.h"

namespace tetrad {
namespace {

using testing_kernels::format_name;
using testing_kernels::make_kernels;
using testing_kernels::Matrix;
using testing_kernels::PackedMatrix;
using testing_kernels::PagedCache;
using testing_kernels::RandomExperts;

class CpuKernels : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    kernels_ = make_kernels(GetParam());
    if (kernels_ == nullptr) GTEST_SKIP() << "no " << GetParam() << " on this machine";
  }

  std::mt19937 random_{20260101};
  std::unique_ptr<Kernels> reference_ =
      make_reference_kernels(testing_kernels::activations_of(GetParam()));
  std::unique_ptr<Kernels> kernels_;
};

/// Values that differ by no more than `relative` of the largest expected one.
void expect_close(const Matrix& actual, const Matrix& expected, float relative,
                  const std::string& what) {
  float largest = std::numeric_limits<float>::min();
  for (const float value : expected.values())
    largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < expected.values().size(); ++i) {
    ASSERT_NEAR(actual.values()[i], expected.values()[i], relative * largest)
        << what << ", element " << i;
  }
}

struct Shape {
  int64_t rows, cols, num_tokens;
};

/// Around every boundary: lanes (16), scale blocks (128), chunks (256), column blocks (768), tiles
/// of rows (8) and tokens (6), blocks of tokens (96).
constexpr Shape kShapes[] = {{1, 16, 1},    {1, 16, 7},    {3, 48, 2},     {7, 128, 3},
                             {8, 144, 4},   {9, 256, 5},   {31, 272, 6},   {33, 400, 7},
                             {129, 768, 8}, {64, 784, 13}, {130, 1552, 1}, {17, 1536, 97},
                             {5, 3072, 20}, {300, 64, 48}, {128, 512, 200}};
/// Columns that only unpacked formats allow.
constexpr Shape kOddShapes[] = {{1, 1, 1},    {2, 5, 3},     {5, 17, 7},    {6, 127, 2},
                                {7, 130, 13}, {129, 257, 6}, {10, 769, 97}, {130, 1001, 4}};

/// |actual - expected| <= 1e-6 * sum |w x|: a float sum in any order keeps that easily, and a wrong
/// weight, column or scale does not.
void expect_linear(const WeightMatrix& weight, const Matrix& x, const Matrix& actual,
                   const Matrix& expected, const Shape& shape) {
  std::vector<float> row(static_cast<size_t>(weight.cols));
  for (int64_t n = 0; n < weight.rows; ++n) {
    dequantize_row(weight, n, row);
    for (int64_t t = 0; t < shape.num_tokens; ++t) {
      double magnitude = 0;
      for (int64_t k = 0; k < weight.cols; ++k)
        magnitude += std::abs(static_cast<double>(row[static_cast<size_t>(k)]) * x.at(t, k));
      ASSERT_NEAR(actual.at(t, n), expected.at(t, n), 1e-6 * magnitude + 1e-30)
          << format_name(weight.format) << " [" << shape.rows << ", " << shape.cols << "], token "
          << t << " of " << shape.num_tokens << ", row " << n;
    }
  }
}

/// With activations of either type.
class CpuMatMuls : public CpuKernels {};

TEST_P(CpuMatMuls, Linear) {
  for (const WeightFormat format : testing_kernels::formats_of(GetParam())) {
    std::vector<Shape> shapes(std::begin(kShapes), std::end(kShapes));
    if (testing_kernels::column_grain(format) == 1) {
      shapes.insert(shapes.end(), std::begin(kOddShapes), std::end(kOddShapes));
    }
    for (const Shape& shape : shapes) {
      // Half of a sanitizer's time would go to the largest, whose edges others have.
      if (kSanitized && shape.rows * shape.cols * shape.num_tokens > 3'000'000) continue;
      const PackedMatrix weight(format, shape.rows, shape.cols, random_);
      Matrix x(shape.num_tokens, shape.cols, random_);
      Matrix actual(shape.num_tokens, shape.rows);
      Matrix expected(shape.num_tokens, shape.rows);
      kernels_->linear(weight.view(), x.all(), actual.all());
      reference_->linear(weight.view(), x.all(), expected.all());
      expect_linear(weight.view(), x, actual, expected, shape);
    }
  }
}

TEST_P(CpuKernels, RmsNorm) {
  for (const int64_t n : {1, 5, 16, 100, 384, 3072}) {
    for (const float deviation : {1e-4f, 1.0f, 1e4f}) {
      Matrix x(19, n, random_, deviation);
      const Matrix weight(1, n, random_);
      Matrix expected(19, n);
      reference_->rms_norm(x.all(), weight.values(), 1e-6f, expected.all());
      kernels_->rms_norm(x.all(), weight.values(), 1e-6f, x.all());
      expect_close(x, expected, 1e-6f, "n = " + std::to_string(n));
    }
  }
}

TEST_P(CpuKernels, WhatGoesRowByRowIsTheSameOnSeveralThreads) {
  for (const int64_t rows : {1, 7, 8, 9, 40}) {
    const PackedMatrix table(WeightFormat::mxfp4_16, 50, 48, random_);
    std::vector<int32_t> ids, positions;
    for (int64_t t = 0; t < rows; ++t) {
      ids.push_back(static_cast<int32_t>(random_() % 50));
      positions.push_back(static_cast<int32_t>(random_() % 200000));
    }
    Matrix actual(rows, 48), expected(rows, 48);
    kernels_->embed(table.view(), ids, actual.all());
    reference_->embed(table.view(), ids, expected.all());
    EXPECT_EQ(actual.values(), expected.values());

    const RopeParameters rope{.head_dim = 12, .rotary_dim = 8, .theta = 5e6};
    kernels_->rope(actual.all(), positions, rope);
    reference_->rope(expected.all(), positions, rope);
    EXPECT_EQ(actual.values(), expected.values());

    Matrix other(rows, 48, random_);
    kernels_->add(actual.all(), other.all());
    reference_->add(expected.all(), other.all());
    EXPECT_EQ(actual.values(), expected.values());

    const Matrix bias(1, 48, random_);
    const auto choices = static_cast<size_t>(rows * 5);
    std::vector<int32_t> actual_ids(choices), expected_ids(choices);
    std::vector<float> actual_weights(choices), expected_weights(choices);
    kernels_->route(actual.all(), bias.values(), {actual_ids, actual_weights, 5});
    reference_->route(actual.all(), bias.values(), {expected_ids, expected_weights, 5});
    EXPECT_EQ(actual_ids, expected_ids);
    EXPECT_EQ(actual_weights, expected_weights);
  }
}

struct Heads {
  int64_t num_kv_heads, heads_per_kv_head, head_dim;
};

TEST_P(CpuKernels, Attention) {
  const Heads every_heads[] = {{2, 1, 16}, {4, 2, 64}, {8, 6, 128},
                               {1, 5, 20}, {3, 7, 8},  {1, 50, 80}};
  for (const Heads& heads : every_heads) {
    for (const DType dtype : testing_kernels::kEveryCacheType) {
      PagedCache cache(dtype, heads.num_kv_heads, heads.head_dim, random_);
      // Decode, prefill, and chunks that begin or end at, before and after a block's edge.
      for (const auto& [context, query] : std::initializer_list<std::pair<int64_t, int64_t>>{
               {0, 1}, {15, 1}, {16, 1}, {100, 1}, {0, 17}, {30, 5}, {16, 16}, {20, 50}}) {
        cache.add_sequence(context, query);
      }
      cache.write_all(*kernels_, random_);
      const int64_t q_size = heads.num_kv_heads * heads.heads_per_kv_head * heads.head_dim;
      Matrix q(cache.num_rows(), q_size, random_, 2.0f);
      Matrix actual(cache.num_rows(), q_size), expected(cache.num_rows(), q_size);
      kernels_->attention(q.all(), cache.batch(), cache.layer(), actual.all());
      reference_->attention(q.all(), cache.batch(), cache.layer(), expected.all());
      // Machines with AVX512-BF16 round queries and shares of an E4M3 cache to BF16; see
      // attention_test.cpp.
      expect_close(actual, expected, dtype == DType::f8_e4m3 ? 1e-2f : 2e-6f,
                   std::string(dtype_name(dtype)) + ", head_dim " + std::to_string(heads.head_dim));
    }
  }
}

TEST_P(CpuKernels, CachesAreWrittenAlike) {
  for (const DType dtype : testing_kernels::kEveryCacheType) {
    for (const int64_t rows : {1, 40}) {
      std::mt19937 one(5), two(5);
      PagedCache actual(dtype, 3, 20, one), expected(dtype, 3, 20, two);
      actual.add_sequence(0, rows);
      expected.add_sequence(0, rows);
      actual.write_all(*kernels_, one);
      expected.write_all(*reference_, two);
      EXPECT_EQ(actual.memory(), expected.memory());
    }
  }
}

TEST_P(CpuMatMuls, Experts) {
  // Between the two products activations are rounded again, and one in some thousand goes the other
  // way when the last bits of its sum differ.
  const bool rounds = testing_kernels::activations_of(GetParam()) == ActivationType::int8;
  const float tolerance = rounds ? 3e-4f : 3e-6f;
  struct Case {
    int64_t hidden, intermediate, num_experts, top_k, num_tokens;
  };
  for (const Case& c : {Case{384, 128, 16, 4, 1}, Case{384, 128, 16, 4, 70}, Case{48, 32, 3, 3, 5},
                        Case{16, 16, 4, 2, 1100}, Case{256, 784, 8, 2, 9}}) {
    for (const WeightFormat format : testing_kernels::formats_of(GetParam())) {
      // Expert 1 is a protected one, stored dense.
      const RandomExperts experts(format, WeightFormat::bf16, c.num_experts, c.hidden,
                                  c.intermediate, random_);
      auto choices = testing_kernels::random_choices(c.num_tokens, c.num_experts, c.top_k, random_);
      Matrix x(c.num_tokens, c.hidden, random_);
      Matrix actual(c.num_tokens, c.hidden), expected(c.num_tokens, c.hidden);
      kernels_->experts(x.all(), experts.view(), choices.routing(), actual.all());
      reference_->experts(x.all(), experts.view(), choices.routing(), expected.all());
      expect_close(actual, expected, tolerance,
                   format_name(format) + ", " + std::to_string(c.num_tokens) + " tokens");
    }
  }
}

TEST_P(CpuKernels, ExpertsOfDenseFormatsTakeAnySize) {
  for (const WeightFormat format :
       {WeightFormat::bf16, WeightFormat::fp8_block, WeightFormat::fp8, WeightFormat::int4}) {
    const RandomExperts experts(format, format, 5, 37, 21, random_);
    auto choices = testing_kernels::random_choices(11, 5, 2, random_);
    Matrix x(11, 37, random_);
    Matrix actual(11, 37), expected(11, 37);
    kernels_->experts(x.all(), experts.view(), choices.routing(), actual.all());
    reference_->experts(x.all(), experts.view(), choices.routing(), expected.all());
    expect_close(actual, expected, 3e-6f, format_name(format));
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuKernels, testing::Values("generic", "avx2", "avx512"),
                         [](const auto& test) { return test.param; });
INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuMatMuls,
                         testing::Values("generic", "avx2", "avx512", "generic_int8", "avx2_int8",
                                         "avx512_int8"),
                         [](const auto& test) { return test.param; });

TEST(ExpertGroups, SortTheVisitsAndKeepTheirOrder) {
  std::vector<int32_t> ids = {3, 0, 0, 3, 3, 1};
  std::vector<float> weights(6);
  ExpertGroups groups;
  for (int round = 0; round < 2; ++round) {  // the second time over used memory
    groups.build({ids, weights, 2}, 5);
    ASSERT_EQ(groups.groups().size(), 3u);
    EXPECT_EQ(groups.groups()[0].expert, 0);
    EXPECT_EQ(groups.groups()[2].expert, 3);
    EXPECT_EQ(groups.groups()[2].slot_begin, 3);
    EXPECT_EQ(groups.groups()[2].slot_end, 6);
    EXPECT_THAT(groups.tokens(), testing::ElementsAre(0, 1, 2, 0, 1, 2));
    EXPECT_THAT(groups.slots(), testing::ElementsAre(3, 0, 1, 4, 5, 2));
  }
}

}  // namespace
}  // namespace tetrad
