// The whole forward pass on the emulated GPU, with either machine's fragments: the bundled model's
// logits against those of the CPU in float32, and the engine's contract: the same bits for a
// token alone, in a batch, and in chunks of any size.

#include "model/gpu_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/sanitized_for_tests.h"
#include "checkpoint/checkpoint.h"
#include "gpu/emulated_device.h"
#include "gpu/sized_device_for_tests.h"
#include "kernels/gpu/emulated_kernels.h"
#include "model/gpu_batches_for_tests.h"
#include "model/kv_cache_format.h"
#include "model/minimax_m2.h"
#include "model/synthetic_model.h"

namespace tetrad {
namespace {

class GpuModelTest : public testing::TestWithParam<bool> {
 protected:
  static std::shared_ptr<const Checkpoint> shared_checkpoint() {
    static const auto kOpen = std::make_shared<const Checkpoint>(
        Checkpoint::open(TETRAD_SOURCE_DIR "/models/tetrad-demo-mxfp4_16").value());
    return kOpen;
  }

  static std::unique_ptr<gpu::Device> open_emulated() {
    return gpu::open_emulated_device(
        GetParam() ? "gfx12" : "nvidia",
        GetParam() ? gpu::emulated_gfx12_kernels() : gpu::emulated_nvidia_kernels(),
        gpu::ThreadOrder::shuffled);
  }

  /// The bundled model's first layers: an emulated one takes its time.
  std::unique_ptr<GpuModel> load(int64_t num_layers) {
    ModelConfig config = shared_checkpoint()->config();
    config.num_hidden_layers = num_layers;
    MiniMaxM2Weights weights = MiniMaxM2Weights::load(*shared_checkpoint()).value();
    weights.layers.resize(static_cast<size_t>(num_layers));
    auto device = open_emulated();
    gpu::GpuKernels kernels = gpu::GpuKernels::create(*device).value();
    auto memory = std::make_unique<GpuMemory>(*device);
    GpuWeights on_gpu = load_gpu_weights(config, weights, kernels, *memory).value();
    const std::vector<KvScales> scales(static_cast<size_t>(num_layers), kScales);
    auto model = GpuModel::create(config, std::move(device), kernels, std::move(memory),
                                  std::move(on_gpu), scales,
                                  {.num_kv_blocks = 64,
                                   .max_num_batched_tokens = 96,
                                   .max_num_seqs = 12,
                                   .max_logits_rows = 96,
                                   .max_model_len = 256});
    EXPECT_TRUE(model) << model.error().message;
    return std::move(*model);
  }

  static constexpr KvScales kScales{.k = 0.05f, .v = 0.02f};
};

TEST_P(GpuModelTest, LogitsAreThoseOfTheCpu) {
  constexpr int64_t kLayers = 3;
  const std::unique_ptr<GpuModel> model = load(kLayers);
  GpuTestSequence sequence{.tokens = some_tokens(40, 1), .blocks = {5, 2, 9}};
  BatchOfSequences on_gpu;
  on_gpu.add(sequence, 40, 40);
  const std::vector<float> logits = copied(model->forward(on_gpu.batch()));

  ModelConfig config = shared_checkpoint()->config();
  config.num_hidden_layers = kLayers;
  MiniMaxM2Weights weights = MiniMaxM2Weights::load(*shared_checkpoint()).value();
  weights.layers.resize(kLayers);
  MiniMaxM2 cpu(config, std::move(weights), shared_checkpoint(), make_reference_kernels());
  const std::vector<KvScales> scales(kLayers, kScales);
  const KvCache cache = KvCache::create(config, DType::f8_e4m3, 64, scales).value();
  sequence.computed = 0;
  BatchOfSequences on_cpu;
  on_cpu.add(sequence, 40, 40);
  const Activations expected = cpu.forward(on_cpu.batch(), cache).value();
  double error = 0;
  double size = 0;
  for (int64_t i = 0; i < expected.rows * expected.cols; ++i) {
    error += std::pow(logits[static_cast<size_t>(i)] - expected.data[i], 2.0);
    size += std::pow(expected.data[i], 2.0);
  }
  // Weights and activations of 11 bits, and now and then a key or value on the other side of a
  // rounding of the FP8 cache.
  EXPECT_LT(std::sqrt(error / size), 0.01);
}

TEST_P(GpuModelTest, ATokenHasTheSameBitsInEveryBatch) {
  if (kSanitized && GetParam()) GTEST_SKIP() << "one kind of card is enough for a sanitizer's time";
  const std::unique_ptr<GpuModel> model = load(1);
  const int64_t vocab = model->config().vocab_size;
  // At once, its 150 keys in two splits.
  GpuTestSequence whole{.tokens = some_tokens(150, 2), .blocks = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};
  std::vector<float> expected;
  for (const int64_t count : {90, 60}) {
    BatchOfSequences batch;
    batch.add(whole, count, count);
    const std::vector<float> rows = copied(model->forward(batch.batch()));
    expected.insert(expected.end(), rows.begin(), rows.end());
  }
  // In chunks, beside others, and token by token (decode).
  GpuTestSequence parts{.tokens = whole.tokens, .blocks = {20, 21, 22, 23, 24, 25, 26, 27, 28, 29}};
  std::vector<GpuTestSequence> others;
  others.reserve(9);
  for (int32_t i = 0; i < 9; ++i)
    others.push_back({.tokens = some_tokens(40, 3 + i), .blocks = {30 + 2 * i, 31 + 2 * i}});
  for (const int64_t count : {1, 3, 17, 70, 1, 40, 1, 1, 16}) {
    const int64_t first = parts.computed;
    BatchOfSequences batch;
    const bool has_company = count != 16;
    if (has_company) batch.add(others[0], 2, 0);
    batch.add(parts, count, count);
    if (has_company && count < 70) {
      for (size_t i = 1; i < others.size(); ++i)
        batch.add(others[i], 1, 1);
    }
    const std::vector<float> rows = copied(model->forward(batch.batch()));
    ASSERT_TRUE(
        std::equal(rows.begin(), rows.begin() + count * vocab, expected.begin() + first * vocab))
        << count << " tokens from " << first << " on";
  }
  EXPECT_EQ(parts.computed, 150);
}

TEST_P(GpuModelTest, ManySequencesTogetherHaveTheBitsOfEachAlone) {
  if (kSanitized && GetParam()) GTEST_SKIP() << "one kind of card is enough for a sanitizer's time";
  // Wide enough for products by segments, on a card with more multiprocessors than they have
  // blocks.
  const ModelConfig config = synthetic_config({.layers = 1,
                                               .experts = 8,
                                               .vocab = 128,
                                               .hidden = 896,
                                               .intermediate = 64,
                                               .heads = 14,
                                               .kv_heads = 2,
                                               .head_dim = 64,
                                               .experts_per_token = 2})
                                 .value();
  auto device = std::make_unique<gpu::SizedDevice>(open_emulated(), 1000);
  const std::vector<std::string>& launched = device->launched;
  const auto count = [&](std::string_view name) { return std::ranges::count(launched, name); };
  gpu::GpuKernels kernels = gpu::GpuKernels::create(*device, {.segment_product_tokens = 2}).value();
  const auto created = GpuModel::create_random(config, 4, std::move(device), kernels,
                                               {.num_kv_blocks = 64,
                                                .max_num_batched_tokens = 40,
                                                .max_num_seqs = 40,
                                                .max_logits_rows = 40,
                                                .max_model_len = 32});
  ASSERT_TRUE(created) << created.error().message;
  GpuModel& model = **created;
  std::vector<GpuTestSequence> sequences;
  sequences.reserve(33);
  for (int32_t i = 0; i < 33; ++i)
    sequences.push_back({.tokens = {3 * i}, .blocks = {i}});
  BatchOfSequences together;
  for (GpuTestSequence& sequence : sequences)
    together.add(sequence, 1, 1);
  const std::vector<float> expected = copied(model.forward(together.batch()));
  EXPECT_EQ(count("add_segments"), 2);
  EXPECT_EQ(count("route_many_small"), 1);
  const auto of_many = [&] {
    return count("gemm_segments_codes") + count("segment_staged_four_codes") +
           count("segment_staged_six_codes");
  };
  EXPECT_EQ(of_many(), 2);
  // Two sizes of tiles of tokens, and too many for them.
  for (const int32_t num : {2, 8, 16, 24}) {
    std::vector<GpuTestSequence> first(sequences.begin(), sequences.begin() + num);
    BatchOfSequences some;
    for (GpuTestSequence& sequence : first) {
      sequence.computed = 0;
      some.add(sequence, 1, 1);
    }
    const std::vector<float> rows = copied(model.forward(some.batch()));
    EXPECT_TRUE(std::equal(rows.begin(), rows.begin() + num * config.vocab_size, expected.begin()))
        << num << " sequences";
  }
  EXPECT_EQ(of_many(), 4);
  EXPECT_EQ(count("segment_product_codes") + count("segment_product_two_codes"), 6);
  EXPECT_EQ(count("add_segments"), 10);
  for (const int32_t i : {0, 15, 16, 32}) {
    GpuTestSequence sequence{.tokens = {3 * i}, .blocks = {40}};
    BatchOfSequences alone;
    alone.add(sequence, 1, 1);
    const std::vector<float> row = copied(model.forward(alone.batch()));
    EXPECT_TRUE(std::equal(row.begin(), row.end(), expected.begin() + i * config.vocab_size))
        << "sequence " << i;
  }
  EXPECT_EQ(count("add_segments"), 10);
}

TEST_P(GpuModelTest, SquaresOfQueriesAndKeysAreAddedUpOnce) {
  if (kSanitized && GetParam()) GTEST_SKIP() << "one kind of card is enough for a sanitizer's time";
  // Products of all columns at once, without which sums of squares come.
  const ModelConfig config = synthetic_config({.layers = 1,
                                               .experts = 4,
                                               .vocab = 64,
                                               .hidden = 128,
                                               .intermediate = 64,
                                               .heads = 2,
                                               .kv_heads = 1,
                                               .head_dim = 64,
                                               .experts_per_token = 2})
                                 .value();
  auto device = std::make_unique<gpu::SizedDevice>(open_emulated(), 1000);
  const std::vector<std::string>& launched = device->launched;
  gpu::GpuKernels kernels = gpu::GpuKernels::create(*device).value();
  const uint32_t num_decodes = kernels.max_decode_tokens(128) + 1;
  const auto created = GpuModel::create_random(config, 4, std::move(device), kernels,
                                               {.num_kv_blocks = 200,
                                                .max_num_batched_tokens = 200,
                                                .max_num_seqs = 100,
                                                .max_logits_rows = 100,
                                                .max_model_len = 160});
  ASSERT_TRUE(created) << created.error().message;
  GpuModel& model = **created;
  std::vector<GpuTestSequence> decodes;
  decodes.reserve(num_decodes);
  for (uint32_t i = 0; i < num_decodes; ++i)
    decodes.push_back({.tokens = {1, 2, 3}, .blocks = {20 + static_cast<int32_t>(i)}});
  GpuTestSequence prompt{.tokens = some_tokens(150, 2), .blocks = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};
  const auto launches_of = [&](bool has_prompt, bool has_decodes) {
    const auto before = std::ranges::count(launched, "square_sums");
    BatchOfSequences batch;
    if (has_prompt) batch.add(prompt, 70, 1);
    for (GpuTestSequence& sequence : decodes) {
      if (has_decodes) batch.add(sequence, 1, 1);
    }
    EXPECT_TRUE(model.forward(batch.batch()));
    return std::ranges::count(launched, "square_sums") - before;
  };
  EXPECT_EQ(launches_of(true, false), 0);
  EXPECT_EQ(launches_of(true, true), 0);
  EXPECT_EQ(launches_of(false, true), 1);
}

TEST_P(GpuModelTest, ARecordedStepIsReplayedForLongerContexts) {
  if (kSanitized && GetParam()) GTEST_SKIP() << "one kind of card is enough for a sanitizer's time";
  const std::unique_ptr<GpuModel> model = load(1);
  const int64_t vocab = model->config().vocab_size;
  GpuTestSequence whole{.tokens = some_tokens(20, 5), .blocks = {0, 1}};
  BatchOfSequences all;
  all.add(whole, 20, 20);
  const std::vector<float> expected = copied(model->forward(all.batch()));
  GpuTestSequence one_by_one{.tokens = whole.tokens, .blocks = {7, 3}};
  for (int64_t i = 0; i < 20; ++i) {
    BatchOfSequences step;
    step.add(one_by_one, 1, 1);
    const std::vector<float> row = copied(model->forward(step.batch()));
    ASSERT_TRUE(std::equal(row.begin(), row.end(), expected.begin() + i * vocab)) << "token " << i;
  }
}

TEST_P(GpuModelTest, ABatchBeyondTheBuffersIsAnError) {
  const std::unique_ptr<GpuModel> model = load(1);
  GpuTestSequence sequence{.tokens = some_tokens(97, 1), .blocks = {0, 1, 2, 3, 4, 5, 6}};
  BatchOfSequences batch;
  batch.add(sequence, 97, 1);
  const Result<Activations> logits = model->forward(batch.batch());
  ASSERT_FALSE(logits);
  EXPECT_NE(logits.error().message.find("97 tokens"), std::string::npos);
}

/// Where columns are whole segments.
TEST(GpuModelOfWholeSegments, TakesTheExpertsInOneLaunchWithTheSameBits) {
  const ModelConfig config = synthetic_config({.layers = 2,
                                               .experts = 6,
                                               .vocab = 64,
                                               .hidden = 768,
                                               .intermediate = 768,
                                               .heads = 4,
                                               .kv_heads = 2,
                                               .head_dim = 64,
                                               .experts_per_token = 3})
                                 .value();
  auto device = std::make_unique<gpu::SizedDevice>(
      gpu::open_emulated_device("nvidia", gpu::emulated_nvidia_kernels(),
                                gpu::ThreadOrder::shuffled),
      3);
  const std::vector<std::string>& launched = device->launched;
  auto kernels = gpu::GpuKernels::create(*device).value();
  const GpuModelLimits limits{.num_kv_blocks = 4,
                              .max_num_batched_tokens = 16,
                              .max_num_seqs = 2,
                              .max_logits_rows = 16,
                              .max_model_len = 32};
  const auto model =
      std::move(*GpuModel::create_random(config, 3, std::move(device), std::move(kernels), limits));
  const std::vector<int32_t> tokens{5, 41, 17, 5, 63, 8, 22, 60, 1};
  const std::vector<int32_t> others{31, 2, 9, 44, 12, 50, 7, 26, 38};
  const auto logits_of = [&](const std::vector<int32_t>& of, int64_t count) {
    GpuTestSequence whole{.tokens = of, .blocks = {0}};
    BatchOfSequences at_once;
    at_once.add(whole, count, count);
    return copied(model->forward(at_once.batch()));
  };
  const std::vector<float> expected = logits_of(tokens, 9);
  // More than few tokens, and few: what another step told must not be there any more.
  for (const int64_t count : {9, 5}) {
    logits_of(others, count);
    const std::vector<float> again = logits_of(tokens, count);
    EXPECT_TRUE(std::ranges::equal(again, std::span(expected).first(again.size()))) << count;
  }
  EXPECT_EQ(std::ranges::count(launched, "experts_of_one"), 0);
  EXPECT_EQ(std::ranges::count(launched, "experts_stream"),
            std::ranges::count(launched, "combine_experts"));
  EXPECT_GT(std::ranges::count(launched, "experts_stream"), 0);
  EXPECT_EQ(std::ranges::count(launched, "experts_up_codes"), 0);
  GpuTestSequence alone{.tokens = tokens, .blocks = {1}};
  for (size_t i = 0; i < tokens.size(); ++i) {
    BatchOfSequences batch;
    batch.add(alone, 1, 1);
    const std::vector<float> row = copied(model->forward(batch.batch()));
    EXPECT_TRUE(std::ranges::equal(row, std::span(expected).subspan(i * row.size(), row.size())))
        << i;
  }
  // In every layer of each step that was launched or recorded.
  EXPECT_GT(std::ranges::count(launched, "experts_of_one"), 0);
  EXPECT_EQ(std::ranges::count(launched, "experts_of_one"),
            std::ranges::count(launched, "route_one"));
}

INSTANTIATE_TEST_SUITE_P(Fragments, GpuModelTest, testing::Bool(), [](const auto& kind) {
  return std::string(kind.param ? "gfx12" : "nvidia");
});

}  // namespace
}  // namespace tetrad
