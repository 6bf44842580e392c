// Every implementation against results worked out elsewhere: closed forms, and numbers that numpy
// computed in double precision.

#include "kernels/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/kernels_test_util.h"

namespace tetrad {
namespace {

using testing::ElementsAre;
using testing::FloatNear;
using testing::HasSubstr;
using testing_kernels::make_kernels;
using testing_kernels::Matrix;
using testing_kernels::PackedMatrix;

class EveryKernel : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    kernels_ = make_kernels(GetParam());
    if (kernels_ == nullptr) GTEST_SKIP() << "no " << GetParam() << " on this machine";
  }

  /// Three keys and values of one head of two, written and read by two query heads.
  void expect_causal_and_scaled_attention(const KvCacheLayer& cache) {
    Matrix k(3, 2, {1, 2, 0.5f, -1, 3, 0});
    Matrix v(3, 2, {1, 10, 2, 20, 4, -40});
    kernels_->write_kv(k.all(), v.all(), std::vector<int64_t>{0, 1, 2}, cache);
    const std::vector<int32_t> blocks = {0};
    const SequenceSlice sequence{.query_len = 3, .block_table = blocks};
    Matrix q(3, 4, {1, 0.5f, -2, 1, 1, 0.5f, -2, 1, 1, 0.5f, -2, 1});
    Matrix out(3, 4);
    kernels_->attention(q.all(), {.sequences = {&sequence, 1}}, cache, out.all());
    const std::vector<float> expected = {1,          10,           1,          10,          //
                                         1.1955703f, 11.955703f,   1.1955703f, 11.955703f,  //
                                         2.9342750f, -20.2560596f, 1.2276172f, 11.3619930f};
    EXPECT_THAT(out.values(), testing::Pointwise(FloatNear(1e-5f), expected));
  }

  std::vector<float> linear(const WeightMatrix& weight, std::vector<float> x) {
    Matrix in(1, weight.cols, std::move(x));
    Matrix out(1, weight.rows);
    kernels_->linear(weight, in.all(), out.all());
    return out.values();
  }

  std::unique_ptr<Kernels> kernels_;
};

WeightMatrix f32_matrix(const std::vector<float>& values, int64_t rows) {
  return {.format = WeightFormat::f32,
          .rows = rows,
          .cols = static_cast<int64_t>(values.size()) / rows,
          .data = reinterpret_cast<const std::byte*>(values.data())};
}

TEST_P(EveryKernel, EmbedCopiesTheRowsAskedFor) {
  const std::vector<float> table = {1, 2, 3, 4, 5, 6};
  Matrix out(3, 2);
  kernels_->embed(f32_matrix(table, 3), std::vector<int32_t>{2, 0, 2}, out.all());
  EXPECT_THAT(out.values(), ElementsAre(5, 6, 1, 2, 5, 6));
}

TEST_P(EveryKernel, RmsNormOfAConstantIsTheWeight) {
  for (const int64_t n : {1, 16, 40}) {
    Matrix x(2, n, std::vector<float>(static_cast<size_t>(2 * n), -3.0f));
    const std::vector<float> weight(static_cast<size_t>(n), 0.5f);
    kernels_->rms_norm(x.all(), weight, 0.0f, x.all());
    for (const float value : x.values())
      EXPECT_FLOAT_EQ(value, -0.5f);
  }
}

TEST_P(EveryKernel, RmsNormHasItsEpsilonUnderTheRoot) {
  Matrix x(1, 3, {3, -4, 12});
  kernels_->rms_norm(x.all(), std::vector<float>{1, 2, -0.5f}, 1e-2f, x.all());
  EXPECT_THAT(x.values(), ElementsAre(FloatNear(0.39966856f, 1e-6f), FloatNear(-1.06578283f, 1e-6f),
                                      FloatNear(-0.79933712f, 1e-6f)));
  Matrix zeros(1, 2);
  kernels_->rms_norm(zeros.all(), std::vector<float>{1, 1}, 1e-6f, zeros.all());
  EXPECT_THAT(zeros.values(), ElementsAre(0, 0));
}

TEST_P(EveryKernel, LinearReadsMxfp4CodesLowNibbleFirst) {
  // Codes 0 … 15 twice; scales -0.5 and the subnormal 3 * 2^-24.
  std::vector<uint8_t> codes;
  for (int group = 0; group < 2; ++group) {
    for (int b = 0; b < 8; ++b)
      codes.push_back(static_cast<uint8_t>((2 * b + 1) << 4 | 2 * b));
  }
  const uint16_t scales[] = {0xB800, 0x0003};
  const WeightMatrix weight{.format = WeightFormat::mxfp4_16,
                            .rows = 1,
                            .cols = 32,
                            .data = reinterpret_cast<const std::byte*>(codes.data()),
                            .scales = reinterpret_cast<const std::byte*>(scales)};
  std::vector<float> x(32);
  std::iota(x.begin(), x.end(), 1.0f);
  EXPECT_FLOAT_EQ(linear(weight, x)[0], -2067.4995f);
  std::fill(x.begin(), x.begin() + 16, 0.0f);
  EXPECT_FLOAT_EQ(linear(weight, x)[0], 4.7045946e-4f);
}

TEST_P(EveryKernel, LinearUsesTheMatrixsOwnCodebook) {
  const std::vector<uint8_t> codes(8, 0x1F);  // codes 15, 1, 15, 1, …
  const uint16_t scale = 0x3C00;
  WeightMatrix weight{.format = WeightFormat::mxfp4_16,
                      .rows = 1,
                      .cols = 16,
                      .data = reinterpret_cast<const std::byte*>(codes.data()),
                      .scales = reinterpret_cast<const std::byte*>(&scale)};
  const std::vector<float> ones(16, 1.0f);
  EXPECT_FLOAT_EQ(linear(weight, ones)[0], 8 * (113 - 104));
  weight.codebook[15] = 124;
  weight.codebook[1] = -102;
  EXPECT_FLOAT_EQ(linear(weight, ones)[0], 8 * (124 - 102));
}

TEST_P(EveryKernel, LinearReadsE4m3InBlocksOf128) {
  // 129 x 130: four blocks with scales 1, 10, 100 and 1000. 0x38 is 1, 0x01 is 2^-9, 0xFE is -448.
  constexpr int64_t kOddRows = 129, kOddCols = 130;
  std::vector<uint8_t> codes(kOddRows * kOddCols, 0x38);
  codes[0] = 0x01;
  codes[1] = 0xFE;
  const float scales[] = {1, 10, 100, 1000};
  const WeightMatrix weight{.format = WeightFormat::fp8_block,
                            .rows = kOddRows,
                            .cols = kOddCols,
                            .data = reinterpret_cast<const std::byte*>(codes.data()),
                            .scales = reinterpret_cast<const std::byte*>(scales)};
  const std::vector<float> y = linear(weight, std::vector<float>(kOddCols, 1.0f));
  EXPECT_FLOAT_EQ(y[0], 126 + 1.0f / 512 - 448 + 2 * 10);
  EXPECT_FLOAT_EQ(y[1], 128 + 2 * 10);
  EXPECT_FLOAT_EQ(y[127], 128 + 2 * 10);
  EXPECT_FLOAT_EQ(y[128], 128 * 100 + 2 * 1000);

  codes[kOddCols + 5] = 0x7F;
  codes[2 * kOddCols + 129] = 0xFF;
  const std::vector<float> broken = linear(weight, std::vector<float>(kOddCols, 1.0f));
  EXPECT_FLOAT_EQ(broken[0], y[0]);
  EXPECT_TRUE(std::isnan(broken[1]));
  EXPECT_TRUE(std::isnan(broken[2]));
  EXPECT_FLOAT_EQ(broken[3], y[3]);
}

TEST_P(EveryKernel, LinearReadsSubnormalsOfEveryFormat) {
  const std::vector<float> one(1, 1.0f);
  const uint16_t f16[] = {0x0001, 0x83FF};
  const WeightMatrix halves{.format = WeightFormat::f16,
                            .rows = 2,
                            .cols = 1,
                            .data = reinterpret_cast<const std::byte*>(f16)};
  EXPECT_THAT(linear(halves, one), ElementsAre(std::ldexp(1.0f, -24), std::ldexp(-1023.0f, -24)));
  const uint16_t bf16[] = {0x0001, 0x8040};
  const WeightMatrix brains{.format = WeightFormat::bf16,
                            .rows = 2,
                            .cols = 1,
                            .data = reinterpret_cast<const std::byte*>(bf16)};
  EXPECT_THAT(linear(brains, one), ElementsAre(std::ldexp(1.0f, -133), std::ldexp(-1.0f, -127)));
}

TEST_P(EveryKernel, AddIsInPlace) {
  Matrix x(1, 3, {1, 2, 3});
  Matrix y(1, 3, {10, -2, 0.5f});
  kernels_->add(x.all(), y.all());
  EXPECT_THAT(x.values(), ElementsAre(11, 0, 3.5f));
}

TEST_P(EveryKernel, RopeLeavesPositionZeroAndTheOtherDimsAlone) {
  std::mt19937 random(1);
  Matrix x(2, 3 * 10, random);
  const Matrix before = x;
  kernels_->rope(x.all(), std::vector<int32_t>{0, 77},
                 {.head_dim = 10, .rotary_dim = 6, .theta = 10000});
  for (int64_t i = 0; i < 30; ++i) {
    EXPECT_EQ(x.at(0, i), before.at(0, i));
    if (i % 10 >= 6) {
      EXPECT_EQ(x.at(1, i), before.at(1, i));
    }
  }
}

TEST_P(EveryKernel, RopePairsTheHalvesAndKeepsTheirNorm) {
  std::mt19937 random(2);
  Matrix x(1, 8, random);
  const Matrix before = x;
  kernels_->rope(x.all(), std::vector<int32_t>{123},
                 {.head_dim = 8, .rotary_dim = 8, .theta = 5e6});
  for (int64_t j = 0; j < 4; ++j) {
    EXPECT_NEAR(std::hypot(x.at(0, j), x.at(0, j + 4)),
                std::hypot(before.at(0, j), before.at(0, j + 4)), 1e-6);
    EXPECT_NE(x.at(0, j), before.at(0, j));
  }
}

TEST_P(EveryKernel, RopeIsExactFarFromTheStart) {
  Matrix x(1, 6, {1, 2, 3, 4, 5, 6});
  kernels_->rope(x.all(), std::vector<int32_t>{200000},
                 {.head_dim = 6, .rotary_dim = 4, .theta = 5e6});
  EXPECT_THAT(x.values(),
              ElementsAre(FloatNear(1.21179973f, 1e-6f), FloatNear(-3.79775838f, 1e-6f),
                          FloatNear(2.92088025f, 1e-6f), FloatNear(2.36157389f, 1e-6f), 5, 6));
}

/// A KV cache whose unwritten slots hold NaN, as memory that nobody may read.
struct TestCache {
  TestCache(DType dtype, int64_t num_blocks, int64_t num_kv_heads, int64_t head_dim)
      : memory(static_cast<size_t>(2 * num_blocks * num_kv_heads * kKvBlockSize * head_dim) *
                   dtype_size(dtype),
               std::byte{0xFF}),
        layer{.dtype = dtype,
              .k = memory.data(),
              .v = memory.data() + memory.size() / 2,
              .num_blocks = num_blocks,
              .num_kv_heads = num_kv_heads,
              .head_dim = head_dim} {}
  std::vector<std::byte> memory;
  KvCacheLayer layer;
};

TEST_P(EveryKernel, AttentionOverOneKeyIsItsValue) {
  // Four query heads, two KV heads: heads 0 and 1 read the first.
  TestCache cache(DType::f32, 1, 2, 2);
  Matrix k(1, 4, {1, 2, 3, 4});
  Matrix v(1, 4, {5, 6, 7, 8});
  const std::vector<int64_t> slots = {0};
  kernels_->write_kv(k.all(), v.all(), slots, cache.layer);
  const std::vector<int32_t> blocks = {0};
  const SequenceSlice sequence{.query_len = 1, .block_table = blocks};
  std::mt19937 random(3);
  Matrix q(1, 8, random, 100.0f);
  Matrix out(1, 8);
  kernels_->attention(q.all(), {.sequences = {&sequence, 1}}, cache.layer, out.all());
  EXPECT_THAT(out.values(), ElementsAre(5, 6, 5, 6, 7, 8, 7, 8));
}

TEST_P(EveryKernel, AttentionIsCausalAndScaled) {
  TestCache cache(DType::f32, 1, 1, 2);
  expect_causal_and_scaled_attention(cache.layer);
}

TEST_P(EveryKernel, AttentionFollowsTheBlockTable) {
  // 17 keys in blocks 2 and 0; a zero query weighs them alike.
  TestCache cache(DType::bf16, 3, 1, 4);
  Matrix k(17, 4);
  Matrix v(17, 4);
  std::vector<int64_t> slots;
  for (int64_t i = 0; i < 17; ++i) {
    slots.push_back(i < 16 ? 2 * 16 + i : 0);
    for (size_t d = 0; d < 4; ++d)
      v.values()[static_cast<size_t>(i) * 4 + d] = static_cast<float>(i);
  }
  kernels_->write_kv(k.all(), v.all(), slots, cache.layer);
  const std::vector<int32_t> blocks = {2, 0};
  const SequenceSlice sequence{.query_len = 1, .context_len = 16, .block_table = blocks};
  Matrix q(1, 4);
  Matrix out(1, 4);
  kernels_->attention(q.all(), {.sequences = {&sequence, 1}}, cache.layer, out.all());
  for (const float value : out.values())
    EXPECT_FLOAT_EQ(value, 8.0f);
}

TEST_P(EveryKernel, AttentionSurvivesScoresBeyondTheRangeOfExp) {
  TestCache cache(DType::f32, 2, 1, 1);
  constexpr int64_t kKeys = 20;
  Matrix k(kKeys, 1);
  Matrix v(kKeys, 1);
  std::vector<int64_t> slots(kKeys);
  std::iota(slots.begin(), slots.end(), 0);
  for (size_t i = 0; i < kKeys; ++i) {
    k.values()[i] = static_cast<float>(i) * 100.0f - 1000.0f;
    v.values()[i] = static_cast<float>(i);
  }
  kernels_->write_kv(k.all(), v.all(), slots, cache.layer);
  const std::vector<int32_t> blocks = {0, 1};
  const SequenceSlice sequence{.query_len = 1, .context_len = kKeys - 1, .block_table = blocks};
  for (const float sign : {1.0f, -1.0f}) {
    Matrix q(1, 1, {sign * 10.0f});
    Matrix out(1, 1);
    kernels_->attention(q.all(), {.sequences = {&sequence, 1}}, cache.layer, out.all());
    EXPECT_FLOAT_EQ(out.values()[0], sign > 0 ? 19.0f : 0.0f);
  }
}

TEST_P(EveryKernel, AttentionReadsE4m3TimesItsScales) {
  // Exact in E4M3 after division by the scales: the numbers of AttentionIsCausalAndScaled.
  TestCache cache(DType::f8_e4m3, 1, 1, 2);
  cache.layer.k_scale = 0.5f;
  cache.layer.v_scale = 8.0f;
  expect_causal_and_scaled_attention(cache.layer);
  EXPECT_EQ(cache.layer.k[0], std::byte{0x40});  // 1 / 0.5 = 2
  EXPECT_EQ(cache.layer.v[0], std::byte{0x20});  // 1 / 8
}

TEST_P(EveryKernel, WriteKvRoundsAndSaturatesToE4m3) {
  TestCache cache(DType::f8_e4m3, 2, 2, 1);
  cache.layer.k_scale = 0.25f;
  cache.layer.v_scale = 1e-38f;  // the quotient overflows
  const float infinity = std::numeric_limits<float>::infinity();
  Matrix k(2, 2, {0.25f * 1.0625f, -0.25f * 1.1875f, 113.0f, -infinity});
  Matrix v(2, 2, {1e10f, -3.0f, 0.0f, std::numeric_limits<float>::quiet_NaN()});
  kernels_->write_kv(k.all(), v.all(), std::vector<int64_t>{17, 18}, cache.layer);
  // Block 1, offsets 1 and 2: [block][head][offset]
  const auto code = [&](const std::byte* half, size_t head, size_t offset) {
    return std::to_integer<int>(half[2 * 16 + head * 16 + offset]);
  };
  EXPECT_EQ(code(cache.layer.k, 0, 1), 0x38);  // 1.0625, a tie: to 1
  EXPECT_EQ(code(cache.layer.k, 1, 1), 0xBA);  // -1.1875, the other tie: to -1.25
  EXPECT_EQ(code(cache.layer.k, 0, 2), 0x7E);  // 452: to 448
  EXPECT_EQ(code(cache.layer.k, 1, 2), 0xFE);
  EXPECT_EQ(code(cache.layer.v, 0, 1), 0x7E);
  EXPECT_EQ(code(cache.layer.v, 1, 1), 0xFE);
  EXPECT_EQ(code(cache.layer.v, 0, 2), 0x00);
  EXPECT_EQ(code(cache.layer.v, 1, 2) & 0x7F, 0x7F);
  EXPECT_EQ(cache.memory[0], std::byte{0xFF});
}

TEST_P(EveryKernel, WriteKvRoundsToBf16) {
  TestCache cache(DType::bf16, 2, 2, 1);
  Matrix k(1, 2, {1.0f + 1.0f / 256, 3.0f});
  Matrix v(1, 2, {-1.0f - 3.0f / 256, std::numeric_limits<float>::quiet_NaN()});
  kernels_->write_kv(k.all(), v.all(), std::vector<int64_t>{17}, cache.layer);
  // Block 1, offset 1: [block][head][offset]
  const auto bits = [&](const std::byte* half, size_t head) {
    uint16_t value = 0;
    std::memcpy(&value, half + 2 * (2 * 16 + head * 16 + 1), sizeof value);
    return value;
  };
  EXPECT_EQ(bits(cache.layer.k, 0), 0x3F80);  // a tie, to even
  EXPECT_EQ(bits(cache.layer.k, 1), 0x4040);
  EXPECT_EQ(bits(cache.layer.v, 0), 0xBF82);  // the other tie
  EXPECT_TRUE(std::isnan(bf16_to_float(bits(cache.layer.v, 1))));
  EXPECT_EQ(cache.memory[0], std::byte{0xFF});
}

struct Routed {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

Routed route(Kernels& kernels, std::vector<float> logits, const std::vector<float>& bias,
             int64_t count) {
  const auto num_experts = static_cast<int64_t>(logits.size());
  Matrix in(1, num_experts, std::move(logits));
  Routed routed{std::vector<int32_t>(static_cast<size_t>(count)),
                std::vector<float>(static_cast<size_t>(count))};
  kernels.route(
      in.all(), bias,
      {.expert_ids = routed.ids, .weights = routed.weights, .num_experts_per_tok = count});
  return routed;
}

TEST_P(EveryKernel, RouteChoosesByBiasButWeighsWithoutIt) {
  const Routed routed = route(*kernels_, {0, 2, -1, 2}, {0, 0, 5, 0}, 2);
  EXPECT_THAT(routed.ids, ElementsAre(2, 1));
  EXPECT_THAT(routed.weights,
              ElementsAre(FloatNear(0.2339153f, 1e-6f), FloatNear(0.7660847f, 1e-6f)));
}

TEST_P(EveryKernel, RouteBreaksTiesByTheLowerId) {
  EXPECT_THAT(route(*kernels_, std::vector<float>(9, 0.25f), std::vector<float>(9), 4).ids,
              ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(route(*kernels_, {1, 3, 1, 3, 1}, std::vector<float>(5), 3).ids,
              ElementsAre(1, 3, 0));
}

TEST_P(EveryKernel, RouteSharesEquallyWhenEverySigmoidIsZero) {
  const Routed routed = route(*kernels_, {-1e30f, -1e30f, -1e30f, -1e30f}, {0, 0, 1, 2}, 2);
  EXPECT_THAT(routed.ids, ElementsAre(3, 2));
  EXPECT_THAT(routed.weights, ElementsAre(0.5f, 0.5f));
}

TEST_P(EveryKernel, ExpertsAreGatedAndMixed) {
  const std::vector<float> w1[] = {{1, 2, -3, 0.25f}, {2, 4, -6, 0.5f}};
  const std::vector<float> w3[] = {{2, 1, 1, 1.5f}, {1, 0, 0, 0.5f}};
  const std::vector<float> w2[] = {{1, -1, 0.5f, 2}, {2, 0, 1.5f, 3}};
  const WeightMatrix gate[] = {f32_matrix(w1[0], 2), f32_matrix(w1[1], 2)};
  const WeightMatrix up[] = {f32_matrix(w3[0], 2), f32_matrix(w3[1], 2)};
  const WeightMatrix down[] = {f32_matrix(w2[0], 2), f32_matrix(w2[1], 2)};
  Matrix x(2, 2, {0.5f, -1, 0.5f, -1});
  std::vector<int32_t> ids = {1, 0, 0, 1};
  std::vector<float> weights = {0.75f, 0.25f, 1, 0};
  Matrix out(2, 2);
  kernels_->experts(x.all(), {.w1 = gate, .w3 = up, .w2 = down},
                    {.expert_ids = ids, .weights = weights, .num_experts_per_tok = 2}, out.all());
  EXPECT_THAT(out.values(),
              ElementsAre(FloatNear(-0.17147886f, 1e-6f), FloatNear(0.16492705f, 1e-6f),
                          FloatNear(-0.25908260f, 1e-6f), FloatNear(0.51816519f, 1e-6f)));
}

TEST_P(EveryKernel, SiluIsZeroFarBelowAndTheIdentityFarAbove) {
  const std::vector<float> one = {1};
  const WeightMatrix identity[] = {f32_matrix(one, 1)};
  for (const float a : {-1e4f, -90.0f, 0.0f, 90.0f, 1e4f}) {
    Matrix x(1, 1, {a});
    std::vector<int32_t> ids = {0};
    std::vector<float> weights = {1};
    Matrix out(1, 1);
    kernels_->experts(x.all(), {.w1 = identity, .w3 = identity, .w2 = identity},
                      {.expert_ids = ids, .weights = weights, .num_experts_per_tok = 1}, out.all());
    EXPECT_NEAR(out.values()[0], a > 0 ? a * a : 0.0f, 1e-6f * a * a) << a;
  }
}

TEST_P(EveryKernel, SiluIsAccurateToTheLastBits) {
  constexpr int64_t kCount = 3001;
  const std::vector<float> one = {1};
  const WeightMatrix identity[] = {f32_matrix(one, 1)};
  Matrix x(kCount, 1);
  for (int64_t i = 0; i < kCount; ++i)
    x.values()[static_cast<size_t>(i)] = static_cast<float>(i - kCount / 2) * 0.055f;  // +-82
  std::vector<int32_t> ids(kCount, 0);
  std::vector<float> weights(kCount, 1.0f);
  Matrix out(kCount, 1);
  kernels_->experts(x.all(), {.w1 = identity, .w3 = identity, .w2 = identity},
                    {.expert_ids = ids, .weights = weights, .num_experts_per_tok = 1}, out.all());
  for (int64_t i = 0; i < kCount; ++i) {
    const double a = x.at(i, 0);
    const double expected = a / (1.0 + std::exp(-a)) * a;
    ASSERT_NEAR(out.at(i, 0), expected, 4e-7 * expected) << a;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, EveryKernel,
                         testing::Values("reference", "generic", "avx2", "avx512"),
                         [](const auto& test) { return test.param; });

TEST(MakeCpuKernels, NamesWhatItRunsOn) {
  const auto kernels = make_cpu_kernels(std::make_shared<ThreadPool>(3), "generic");
  ASSERT_TRUE(kernels);
  EXPECT_EQ((*kernels)->name(), "cpu (generic, 3 threads, float32 activations)");
  EXPECT_TRUE(make_cpu_kernels(std::make_shared<ThreadPool>(1)));
  EXPECT_EQ(make_reference_kernels()->name(), "reference");
}

TEST(MakeCpuKernels, RefusesAnUnknownInstructionSet) {
  const auto kernels = make_cpu_kernels(std::make_shared<ThreadPool>(1), "sse9");
  ASSERT_FALSE(kernels);
  EXPECT_EQ(kernels.error().code, ErrorCode::invalid_argument);
  EXPECT_THAT(kernels.error().message, HasSubstr("sse9"));
  EXPECT_THAT(kernels.error().message, HasSubstr("generic"));
}

}  // namespace
}  // namespace tetrad
