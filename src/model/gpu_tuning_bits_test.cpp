// Choices of sizes change times, never bits; and a profile counts what every kernel of a step
// costs.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "gpu/emulated_device.h"
#include "kernels/gpu/emulated_kernels.h"
#include "model/gpu_model.h"
#include "model/synthetic_model.h"

namespace tetrad {
namespace {

constexpr int64_t kBlocksOfTunedSequence = 8;

class GpuTuningBits : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    const ModelConfig config = synthetic_config({.layers = 1,
                                                 .experts = 8,
                                                 .vocab = 320,
                                                 .hidden = 256,
                                                 .intermediate = 128,
                                                 .heads = 4,
                                                 .kv_heads = 2,
                                                 .head_dim = 64,
                                                 .experts_per_token = 2})
                                   .value();
    auto device = GetParam() ? gpu::open_emulated_device("gfx12", gpu::emulated_gfx12_kernels())
                             : gpu::open_emulated_device("nvidia", gpu::emulated_nvidia_kernels());
    auto kernels = gpu::GpuKernels::create(*device, gpu::GpuTuning{}).value();
    model_ = std::move(*GpuModel::create_random(config, 3, std::move(device), kernels,
                                                {.num_kv_blocks = 20 * kBlocksOfTunedSequence,
                                                 .max_num_batched_tokens = 96,
                                                 .max_num_seqs = 20,
                                                 .max_logits_rows = 20,
                                                 .max_model_len = 128}));
    model_->set_use_graphs(false);
  }

  /// Logits of the last tokens of some sequences: `count` new ones each, behind `context`.
  Result<std::vector<float>> step(int64_t sequences, int64_t context, int64_t count) {
    std::vector<int32_t> ids, positions, rows;
    std::vector<int64_t> slots;
    std::vector<int32_t> table(static_cast<size_t>(sequences * kBlocksOfTunedSequence));
    std::iota(table.begin(), table.end(), 0);
    std::vector<SequenceSlice> slices;
    for (int64_t s = 0; s < sequences; ++s) {
      const int64_t first = s * kBlocksOfTunedSequence;
      slices.push_back({.query_start = s * count,
                        .query_len = count,
                        .context_len = context,
                        .block_table = std::span(table).subspan(static_cast<size_t>(first),
                                                                kBlocksOfTunedSequence)});
      for (int64_t i = 0; i < count; ++i) {
        ids.push_back(static_cast<int32_t>((s * 37 + (context + i) * 101) % 320));
        positions.push_back(static_cast<int32_t>(context + i));
        slots.push_back(first * kKvBlockSize + context + i);
      }
      rows.push_back(static_cast<int32_t>((s + 1) * count - 1));
    }
    TETRAD_ASSIGN(const Activations logits, model_->forward({.token_ids = ids,
                                                             .positions = positions,
                                                             .slot_mapping = slots,
                                                             .sequences = slices,
                                                             .logits_rows = rows}));
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

  std::unique_ptr<GpuModel> model_;
};

TEST_P(GpuTuningBits, NoChoiceChangesABit) {
  const std::vector<float> expected = all_steps();
  ASSERT_EQ(expected.size(), size_t{44 * 320});
  ASSERT_TRUE(std::ranges::all_of(expected, [](float logit) { return std::isfinite(logit); }));
  for (const gpu::GpuTuningField& field : gpu::gpu_tuning_fields()) {
    for (const uint32_t value : {field.least, field.most}) {
      gpu::GpuTuning tuning;
      if (tuning.*field.member == value) continue;
#if defined(__SANITIZE_ADDRESS__)
      // Ten times slower, and bits are not what it looks for: the ends that take most memory do.
      if (value != field.most) continue;
#endif
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
    const bool multiplies = kernel.kernel.starts_with("attend") || kernel.kernel == "route" ||
                            kernel.kernel == "route_many" ||
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
  std::vector<int32_t> table(kBlocksOfTunedSequence);
  std::iota(table.begin(), table.end(), 0);
  const std::vector<SequenceSlice> slices = {
      {.query_start = 0, .query_len = 1, .context_len = 5, .block_table = table}};
  const std::vector<int32_t> zero = {0}, position = {5};
  const std::vector<int64_t> slot = {5};
  const Batch batch{.token_ids = zero,
                    .positions = position,
                    .slot_mapping = slot,
                    .sequences = slices,
                    .logits_rows = zero};
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
