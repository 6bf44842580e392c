// What a card has no room for, or does not compute, is said with the numbers and before the work.

#include <gtest/gtest.h>

#include "base/sanitized_for_tests.h"
#include "small_card.h"

namespace tetrad {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

constexpr StepLimits kLimits{
    .max_model_len = 1024, .max_num_seqs = 2, .max_num_batched_tokens = 64};

Result<int64_t> blocks_on_card(int64_t total, int64_t others, const StepLimits& limits,
                               const KvMemory& memory) {
  const BundledWeights bundled = bundled_weights(1);
  TETRAD_ASSIGN(const auto model, load_on(std::make_unique<SmallCard>(total, others), bundled));
  EXPECT_EQ(model->device(), "Small Card");
  EXPECT_EQ(model->kernels(), "sm_90");
  TETRAD_ASSIGN(const StartedModel started, model->start(limits, memory));
  return started.num_kv_blocks;
}

class GpuMemoryOfACard : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized)
      GTEST_SKIP() << "sums of bytes, of models that take long to load under sanitizers";
  }
};

TEST_F(GpuMemoryOfACard, TheCacheTakesWhatTheUtilizationLeaves) {
  // A block of one layer takes 8 KiB; weights and buffers are some MiB, and 256 MiB are for the
  // driver.
  const auto half = blocks_on_card(kGiB, 0, kLimits, {.utilization = 0.5});
  ASSERT_TRUE(half) << half.error().message;
  EXPECT_GT(*half * 8192, 200 << 20);
  EXPECT_LT(*half * 8192, 256 << 20);
  const auto by_default = blocks_on_card(kGiB, 0, kLimits, {});
  ASSERT_TRUE(by_default) << by_default.error().message;
  EXPECT_NEAR(static_cast<double>((*by_default - *half) * 8192), 0.4 * kGiB, 1 << 20);
  const auto beside_others = blocks_on_card(kGiB, kGiB / 4, kLimits, {});
  ASSERT_TRUE(beside_others) << beside_others.error().message;
  EXPECT_NEAR(static_cast<double>((*by_default - *beside_others) * 8192), 0.25 * kGiB, 1 << 20);
}

TEST_F(GpuMemoryOfACard, SaysWhichUtilizationOrLengthWouldDo) {
  // Others and the driver have 0.75 of it; a sequence takes half a MiB.
  auto error = blocks_on_card(kGiB, kGiB / 2, kLimits, {.utilization = 0.6}).error();
  EXPECT_EQ(error.param, "--gpu-memory-utilization");
  EXPECT_NE(error.message.find("--gpu-memory-utilization 0.60 leaves 0.00 GiB"), std::string::npos)
      << error.message;
  EXPECT_NE(error.message.find("driver and other programs 0.8"), std::string::npos)
      << error.message;
  const size_t advice = error.message.find("; --gpu-memory-utilization 0.7");
  ASSERT_NE(advice, std::string::npos) << error.message;
  const double enough = std::stod(
      error.message.substr(error.message.rfind(' ', error.message.find(" would do") - 1)));
  EXPECT_TRUE(blocks_on_card(kGiB, kGiB / 2, kLimits, {.utilization = enough}));

  StepLimits longer = kLimits;
  longer.max_model_len = 4096;  // 2 MiB; what is left is less, but some
  double utilization = 0;
  for (double tried = 0.25; tried < 0.4 && utilization == 0; tried += 0.0005) {
    if (blocks_on_card(kGiB, 0, kLimits, {.utilization = tried})) utilization = tried;
  }
  error = blocks_on_card(kGiB, 0, longer, {.utilization = utilization}).error();
  EXPECT_EQ(error.param, "--max-model-len");
  EXPECT_NE(error.message.find(", or --max-model-len "), std::string::npos) << error.message;
}

TEST_F(GpuMemoryOfACard, SaysWhatDoesNotFit) {
  auto error = blocks_on_card(5 << 20, 0, kLimits, {}).error();
  EXPECT_EQ(error.code, ErrorCode::resource_exhausted);
  EXPECT_NE(error.message.find("the weights take 0.0 GiB, and Small Card has 0.0"),
            std::string::npos)
      << error.message;
  StepLimits huge = kLimits;
  huge.max_num_batched_tokens = 65535;
  error = blocks_on_card(kGiB / 4, 0, huge, {}).error();
  EXPECT_EQ(error.code, ErrorCode::resource_exhausted);
  EXPECT_NE(error.message.find("use a smaller --max-num-batched-tokens"), std::string::npos)
      << error.message;
  huge.max_num_batched_tokens = 65536;
  error = blocks_on_card(kGiB / 4, 0, huge, {}).error();
  EXPECT_EQ(error.code, ErrorCode::invalid_argument);
  EXPECT_NE(error.message.find("up to 65535 tokens; --max-num-batched-tokens is 65536"),
            std::string::npos)
      << error.message;
  error = blocks_on_card(kGiB, 0, kLimits, {.bytes = kGiB}).error();
  EXPECT_EQ(error.param, "--kv-cache-memory");
  EXPECT_NE(error.message.find("are left, which hold"), std::string::npos) << error.message;
}

// `tetrad eval` and `tetrad logits` have none of the flags that the engine's steps depend on.
TEST_F(GpuMemoryOfACard, OfOneSequenceNoFlagOfTheEngineIsNamed) {
  StepLimits one = kLimits;
  one.one_sequence = true;
  const auto no_cache = blocks_on_card(kGiB, 0, one, {.bytes = kGiB}).error();
  one.max_num_batched_tokens = 65535;
  const auto no_buffers = blocks_on_card(kGiB / 4, 0, one, {}).error();
  for (const Error& error : {no_cache, no_buffers}) {
    EXPECT_EQ(error.code, ErrorCode::resource_exhausted);
    EXPECT_EQ(error.param, "");
    EXPECT_EQ(error.message.find("--"), std::string::npos) << error.message;
  }
  EXPECT_NE(no_cache.message.find("a sequence of 1024 tokens takes 1.0 GiB"), std::string::npos)
      << no_cache.message;
  EXPECT_NE(no_buffers.message.find("use shorter sequences"), std::string::npos)
      << no_buffers.message;
}

TEST(GpuLoad, AWeightThatNoKernelTakesIsNamed) {
  BundledWeights bundled = bundled_weights(1);
  bundled.weights.layers[0].o_proj.format = WeightFormat::f32;
  const auto model = load_on(emulated(false), bundled);
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::unsupported);
  EXPECT_NE(model.error().message.find("model.layers.0.self_attn.o_proj"), std::string::npos)
      << model.error().message;
}

TEST(GpuLoad, ExpertsOfTwoFormatsAreRefused) {
  BundledWeights bundled = bundled_weights(1);
  // The first layer's experts again, as if they were BF16: too short in memory, and never read.
  bundled.weights.layers.push_back(bundled.weights.layers[0]);
  bundled.config.num_hidden_layers = 2;
  for (WeightMatrix& matrix : bundled.weights.layers[1].w1) {
    matrix = bundled.weights.lm_head;
    matrix.rows = bundled.config.intermediate_size;
  }
  const auto model = load_on(emulated(false), bundled);
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::unsupported);
  EXPECT_NE(model.error().message.find("model.layers.1.block_sparse_moe.experts.*.w1 has another"),
            std::string::npos)
      << model.error().message;
}

TEST(GpuLoad, AModelOfOtherSizesIsRefusedBeforeItsWeightsAreCopied) {
  BundledWeights bundled = bundled_weights(1);
  bundled.config.head_dim = 96;
  const auto model =
      load_on(emulated(false), bundled, [](int64_t, int64_t) { FAIL() << "bytes were copied"; });
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::unsupported);
  EXPECT_EQ(
      model.error().message,
      "head_dim is 96, and the GPU's kernels take multiples of 64 up to 128; use --device cpu");
}

}  // namespace
}  // namespace tetrad
