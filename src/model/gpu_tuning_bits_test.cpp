// Choices of sizes change times, never bits; and a profile counts what every kernel of a step
// costs.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/sanitized_for_tests.h"
#include "model/one_layer_gpu_for_tests.h"

namespace tetrad {
namespace {

constexpr int32_t kBlocksOfTunedSequence = 8;
constexpr int64_t kTunedVocabulary = 320;

class GpuTuningBits : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    OneLayerGpu gpu(GetParam(), kTunedVocabulary,
                    {.num_kv_blocks = 20 * kBlocksOfTunedSequence,
                     .max_num_batched_tokens = 96,
                     .max_num_seqs = 20,
                     .max_logits_rows = 20,
                     .max_model_len = 128},
                    copies_);
    model_ = std::move(gpu.model);
    model_->set_use_graphs(false);
  }

  /// Logits of the last tokens of some sequences: `count` new ones each, behind `context`.
  Result<std::vector<float>> step(int64_t sequences, int64_t context, int64_t count) {
    std::vector<MadeUpSequence> owned;
    for (int32_t number = 0; number < sequences; ++number) {
      owned.emplace_back(number, kBlocksOfTunedSequence);
      owned.back().computed = context;
    }
    std::vector<const MadeUpSequence*> of_batch;
    for (const MadeUpSequence& sequence : owned)
      of_batch.push_back(&sequence);
    const MadeUpBatch made_up(of_batch, count, kTunedVocabulary);
    TETRAD_ASSIGN(const Activations logits, model_->forward(made_up.batch()));
    return std::vector<float>(logits.data, logits.data + logits.rows * logits.cols);
  }

  /// Prefill, then decode of 1, 2 and 20 sequences.
  std::vector<float> all_steps() {
    std::vector<float> all;
    for (const auto& [sequences, context, count] :
         {std::array<int64_t, 3>{1, 0, 90}, {20, 0, 2}, {1, 90, 1}, {2, 2, 1}, {20, 3, 1}}) {
      const auto logits = step(sequences, context, count);
      EXPECT_TRUE(logits) << logits.error().message;
      if (logits) all.insert(all.end(), logits->begin(), logits->end());
    }
    return all;
  }

  gpu::WatchedDevice::Copies copies_;
  std::unique_ptr<GpuModel> model_;
};

TEST_P(GpuTuningBits, NoChoiceChangesABit) {
  if (kSanitized && GetParam()) GTEST_SKIP() << "one kind of card is enough for a sanitizer's time";
  const std::vector<float> expected = all_steps();
  ASSERT_EQ(expected.size(), size_t{44 * kTunedVocabulary});
  ASSERT_TRUE(std::ranges::all_of(expected, [](float logit) { return std::isfinite(logit); }));
  for (const gpu::GpuTuningField& field : gpu::gpu_tuning_fields()) {
    for (const uint32_t value : {field.least, field.most}) {
      gpu::GpuTuning tuning;
      if (tuning.*field.member == value) continue;
      // The ends that take most memory, where bits are not what is looked for.
      if (kSanitized && value != field.most) continue;
      tuning.*field.member = value;
      model_->kernels().set_tuning(tuning);
      const std::vector<float> logits = all_steps();
      ASSERT_EQ(logits.size(), expected.size());
      EXPECT_EQ(std::memcmp(logits.data(), expected.data(), logits.size() * sizeof(float)), 0)
          << field.name << " " << value;
    }
  }
}

TEST_P(GpuTuningBits, AProfileCountsWhatEveryKernelReads) {
  model_->kernels().start_profile(1);
  ASSERT_TRUE(step(1, 0, 90));
  ASSERT_TRUE(step(1, 90, 1));
  ASSERT_TRUE(step(3, 2, 1));
  const auto profile = model_->kernels().end_profile();
  ASSERT_TRUE(profile) << profile.error().message;
  EXPECT_GT(profile->empty_launch_seconds, 0);
  double products = 0;
  for (const auto& kernel : profile->kernels) {
    EXPECT_GT(kernel.cost.bytes, 0) << kernel.kernel << ": launch_cost.h does not know it";
    const bool is_router = kernel.kernel.starts_with("route") && kernel.kernel != "route_norm";
    const bool multiplies = kernel.kernel.starts_with("attend") || is_router ||
                            kernel.kernel.find("_codes") != std::string_view::npos;
    EXPECT_EQ(kernel.cost.operations > 0, multiplies) << kernel.kernel;
    EXPECT_GT(kernel.seconds, 0) << kernel.kernel;
    if (multiplies) products += kernel.cost.operations * static_cast<double>(kernel.launches);
  }
  // By hand: 94 tokens' products, 5 rows of the head, and pairs of a query and a key.
  const double of_token = 256 * (2 * 256 + 2 * 128) + 2 * 3 * 256 * 128 + 8 * 256;
  const double pairs = 90 * 91 / 2 + 91 + 3 * 3;
  EXPECT_EQ(products, 2 * (94 * of_token + 5 * 256 * 320 + 2 * 256 * pairs));
}

TEST_P(GpuTuningBits, AStepIsTimedWithoutItsCopies) {
  MadeUpSequence sequence(0, kBlocksOfTunedSequence);
  sequence.computed = 5;
  const MadeUpSequence* const of_batch[] = {&sequence};
  const MadeUpBatch made_up(of_batch, 1, kTunedVocabulary);
  const Batch batch = made_up.batch();
  const auto seconds = model_->time_step(batch, 2);
  ASSERT_TRUE(seconds) << seconds.error().message;
  EXPECT_GT(*seconds, 0);
  EXPECT_TRUE(model_->forward(batch));
}

INSTANTIATE_TEST_SUITE_P(Fragments, GpuTuningBits, testing::Bool(), [](const auto& kind) {
  return std::string(kind.param ? "gfx12" : "nvidia");
});

}  // namespace
}  // namespace tetrad
