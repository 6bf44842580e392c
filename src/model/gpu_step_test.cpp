// What a step on the GPU copies, and what it tells of its logits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "gpu/emulated_device.h"
#include "kernels/gpu/emulated_kernels.h"
#include "model/gpu_model.h"
#include "model/synthetic_model.h"
#include "model/watched_device_for_tests.h"

namespace tetrad {
namespace {

constexpr int64_t kStepVocabulary = 5000;
constexpr LogitsUse kBest{.is_whole = false};
constexpr LogitsUse kSampled{.is_whole = false, .temperature = 0.8f};
constexpr LogitsUse kWhole{};

/// Sequence `number` has blocks, tokens and a length of its own.
struct SteppedSequence {
  explicit SteppedSequence(int32_t number_of_sequence) : number(number_of_sequence), blocks(6) {
    std::iota(blocks.begin(), blocks.end(), number * 6);
    // In no order, as a server's are.
    std::swap(blocks[0], blocks[3]);
  }
  int32_t number;
  std::vector<int32_t> blocks;
  int64_t computed = 0;
};

class GpuStep : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    model_ = make();
    copies_.clear();
  }

  std::unique_ptr<GpuModel> make() {
    const ModelConfig config = synthetic_config({.layers = 1,
                                                 .experts = 8,
                                                 .vocab = kStepVocabulary,
                                                 .hidden = 256,
                                                 .intermediate = 128,
                                                 .heads = 4,
                                                 .kv_heads = 2,
                                                 .head_dim = 64,
                                                 .experts_per_token = 2})
                                   .value();
    auto emulated = GetParam()
                        ? gpu::open_emulated_device("gfx12", gpu::emulated_gfx12_kernels())
                        : gpu::open_emulated_device("nvidia", gpu::emulated_nvidia_kernels());
    auto device = std::make_unique<gpu::WatchedDevice>(std::move(emulated), copies_);
    device_ = device.get();
    auto kernels = gpu::GpuKernels::create(*device, gpu::GpuTuning{}).value();
    return std::move(*GpuModel::create_random(config, 3, std::move(device), kernels,
                                              {.num_kv_blocks = 60,
                                               .max_num_batched_tokens = 40,
                                               .max_num_seqs = 8,
                                               .max_logits_rows = 8,
                                               .max_model_len = 96}));
  }

  /// The next `count` tokens of each, and the last one's logits.
  Result<StepLogits> step(const std::vector<SteppedSequence*>& sequences, int64_t count,
                          std::span<const LogitsUse> uses) {
    std::vector<int32_t> ids, positions, rows;
    std::vector<int64_t> slots;
    std::vector<SequenceSlice> slices;
    for (SteppedSequence* sequence : sequences) {
      slices.push_back({.query_start = std::ssize(ids),
                        .query_len = count,
                        .context_len = sequence->computed,
                        .block_table = sequence->blocks});
      for (int64_t i = 0; i < count; ++i) {
        const int64_t position = sequence->computed + i;
        ids.push_back(static_cast<int32_t>((sequence->number * 37 + position * 101) % 4999));
        positions.push_back(static_cast<int32_t>(position));
        slots.push_back(sequence->blocks[static_cast<size_t>(position / kKvBlockSize)] *
                            kKvBlockSize +
                        position % kKvBlockSize);
      }
      rows.push_back(static_cast<int32_t>(ids.size()) - 1);
    }
    TETRAD_TRY(model_->start({.token_ids = ids,
                              .positions = positions,
                              .slot_mapping = slots,
                              .sequences = slices,
                              .logits_rows = rows},
                             uses));
    // The batch is gone by now.
    ids.assign(ids.size(), -1);
    TETRAD_ASSIGN(const StepLogits logits, model_->finish());
    for (SteppedSequence* sequence : sequences)
      sequence->computed += count;
    return logits;
  }

  static void expect_summary(const RowSummary& summary, std::span<const float> row,
                             const LogitsUse& use) {
    const auto best = std::ranges::max_element(row);
    EXPECT_TRUE(summary.is_finite);
    EXPECT_EQ(summary.vocab_size, kStepVocabulary);
    EXPECT_EQ(summary.best, best - row.begin());
    EXPECT_EQ(summary.largest, *best);
    if (use.temperature == 0) {
      EXPECT_TRUE(summary.likely.empty());
      EXPECT_EQ(summary.bound, std::numeric_limits<float>::infinity());
      return;
    }
    double weights = 0;
    for (const float logit : row)
      weights += std::exp((double{logit} - *best) / use.temperature);
    EXPECT_NEAR(summary.weights, weights, summary.weights_error);
    EXPECT_GT(summary.likely.size(), 20u);
    EXPECT_EQ(std::ranges::count_if(row, [&](float logit) { return logit >= summary.bound; }),
              std::ssize(summary.likely));
    for (const LikelyToken& token : summary.likely)
      EXPECT_EQ(token.logit, row[token.id]);
  }

  gpu::WatchedDevice::Copies copies_;
  gpu::WatchedDevice* device_ = nullptr;
  std::unique_ptr<GpuModel> model_;
};

TEST_P(GpuStep, HasOneCopyInAndOneOut) {
  std::vector<SteppedSequence> owned{SteppedSequence(0), SteppedSequence(1), SteppedSequence(2)};
  const std::vector<SteppedSequence*> sequences{&owned[0], &owned[1], &owned[2]};
  const std::vector<LogitsUse> greedy(3, kBest);
  ASSERT_TRUE(step(sequences, 13, greedy));
  EXPECT_EQ(copies_.to_device.size(), 1u);
  EXPECT_EQ(copies_.to_host, std::vector<int64_t>{3 * int64_t{sizeof(gpu::LogitsSummary)}});
  EXPECT_EQ(copies_.waits, 1);

  // Positions 13 to 18, launched, recorded and replayed; at 16 each sequence gets a block.
  std::vector<int64_t> bytes;
  for (int i = 0; i < 6; ++i) {
    copies_.clear();
    ASSERT_TRUE(step(sequences, 1, greedy));
    ASSERT_EQ(copies_.to_device.size(), 1u);
    EXPECT_EQ(copies_.to_host.size(), 1u);
    bytes.push_back(copies_.to_device[0]);
  }
  const int64_t blocks = 3 * int64_t{sizeof(gpu::BlockTableUpdate)};
  EXPECT_EQ(bytes, (std::vector<int64_t>{bytes[0], bytes[0], bytes[0], bytes[0] + blocks, bytes[0],
                                         bytes[0]}));
  EXPECT_LT(bytes[0], 400);

  // Who takes another's place brings his blocks.
  copies_.clear();
  ASSERT_TRUE(step({&owned[0], &owned[2], &owned[1]}, 1, greedy));
  EXPECT_EQ(copies_.to_device,
            std::vector<int64_t>{bytes[0] + 4 * int64_t{sizeof(gpu::BlockTableUpdate)}});
}

TEST_P(GpuStep, BringsWhatIsAskedFor) {
  std::vector<SteppedSequence> owned;
  for (int32_t i = 0; i < 7; ++i)
    owned.emplace_back(i);
  std::vector<SteppedSequence*> sequences;
  for (SteppedSequence& sequence : owned)
    sequences.push_back(&sequence);
  const std::vector<LogitsUse> uses{kWhole, kWhole, kSampled, kBest, kWhole, kSampled, kBest};
  for (const int64_t count : {5, 1, 1, 1}) {  // and by a graph
    copies_.clear();
    const StepLogits logits = step(sequences, count, uses).value();
    ASSERT_EQ(logits.num_rows(), 7);
    constexpr int64_t kRowBytes = kStepVocabulary * int64_t{sizeof(float)};
    constexpr int64_t kToldBytes = 7 * int64_t{sizeof(gpu::LogitsSummary)} +
                                   6 * gpu::kMaxCandidates * int64_t{sizeof(LikelyToken)};
    EXPECT_EQ(copies_.to_host, (std::vector<int64_t>{2 * kRowBytes, kRowBytes, kToldBytes}));
    // What was not brought comes when it is asked for, once.
    copies_.clear();
    for (int64_t row = 0; row < 7; ++row) {
      const auto summary = logits.summary(row);
      EXPECT_EQ(summary.has_value(), !uses[static_cast<size_t>(row)].is_whole);
      const std::span<const float> whole = logits.row(row).value();
      ASSERT_EQ(std::ssize(whole), kStepVocabulary);
      if (summary) expect_summary(*summary, whole, uses[static_cast<size_t>(row)]);
      EXPECT_TRUE(logits.row(row));
      EXPECT_EQ(logits.part(row, 1).row(0)->data(), whole.data());
    }
    EXPECT_EQ(copies_.to_host, std::vector<int64_t>(4, kRowBytes));
    EXPECT_TRUE(copies_.to_device.empty());
  }
}

TEST_P(GpuStep, RowsAreThoseOfAForwardPass) {
  std::vector<std::vector<float>> expected;
  for (const bool is_summarised : {false, true}) {
    model_ = make();
    SteppedSequence one(1), two(2);
    const std::vector<LogitsUse> uses(2, is_summarised ? kSampled : kWhole);
    for (int i = 0; i < 20; ++i) {
      const StepLogits logits = step({&one, &two}, 1, uses).value();
      for (int64_t row = 0; row < 2; ++row) {
        const std::span<const float> whole = logits.row(row).value();
        const std::vector<float> copy(whole.begin(), whole.end());
        if (!is_summarised) {
          expected.push_back(copy);
        } else {
          ASSERT_EQ(copy, expected[static_cast<size_t>(2 * i + row)]) << "token " << i;
        }
      }
    }
  }
}

TEST_P(GpuStep, AfterAStepThatFailedTheTablesAreRight) {
  const auto row_of = [&](SteppedSequence& sequence) {
    const StepLogits logits = step({&sequence}, 1, {&kWhole, 1}).value();
    const std::span<const float> row = logits.row(0).value();
    return std::vector<float>(row.begin(), row.end());
  };
  SteppedSequence first(1), second(2);
  const auto compute_some = [&](SteppedSequence& sequence) {
    ASSERT_TRUE(step({&sequence}, 20, {&kWhole, 1}));
  };
  compute_some(second);
  const std::vector<float> expected = row_of(second);
  second.computed = 20;
  compute_some(first);
  for (int i = 0; i < 3; ++i) {  // launched, recorded, replayed
    row_of(first);
    second.computed = 20;
    device_->fail_next_launch();
    EXPECT_FALSE(step({&second}, 1, {&kWhole, 1}));
    EXPECT_EQ(row_of(second), expected) << "failure " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Fragments, GpuStep, testing::Bool(), [](const auto& kind) {
  return std::string(kind.param ? "gfx12" : "nvidia");
});

}  // namespace
}  // namespace tetrad
