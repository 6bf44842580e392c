// What a step on the GPU copies, and what it tells of its logits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "base/sanitized_for_tests.h"
#include "model/one_layer_gpu_for_tests.h"

namespace tetrad {
namespace {

constexpr int64_t kStepVocabulary = 5000;
constexpr int64_t kStepRowsAtOnce = 8;
constexpr LogitsUse kBest{.is_whole = false};
constexpr LogitsUse kSampled{.is_whole = false, .temperature = 0.8f};
constexpr LogitsUse kWhole{};

struct SteppedSequence : MadeUpSequence {
  explicit SteppedSequence(int32_t number_of_sequence) : MadeUpSequence(number_of_sequence, 6) {}
};

std::vector<float> copy_of(std::span<const float> row) {
  return {row.begin(), row.end()};
}

class GpuStep : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (kSanitized && GetParam())
      GTEST_SKIP() << "one kind of card is enough for a sanitizer's time";
    restart();
  }

  void restart(int64_t rows_at_once = kStepRowsAtOnce) {
    OneLayerGpu gpu(GetParam(), kStepVocabulary,
                    {.num_kv_blocks = 60,
                     .max_num_batched_tokens = 40,
                     .max_num_seqs = 8,
                     .max_logits_rows = rows_at_once,
                     .max_model_len = 96},
                    copies_);
    model_ = std::move(gpu.model);
    device_ = gpu.device;
    copies_.clear();
  }

  /// The next `count` tokens of each, and the logits of the last `num_logits` of them.
  Result<StepLogits> step(const std::vector<SteppedSequence*>& sequences, int64_t count,
                          std::span<const LogitsUse> uses, int64_t num_logits = 1) {
    {
      const std::vector<const MadeUpSequence*> of_batch(sequences.begin(), sequences.end());
      const MadeUpBatch made_up(of_batch, count, kStepVocabulary, num_logits);
      const std::vector<LogitsUse> of_rows(uses.begin(), uses.end());
      TETRAD_TRY(model_->start(made_up.batch(), of_rows));
    }  // the batch is gone by now
    copies_before_finish_ = copies_;
    if (std::exchange(launch_in_finish_fails_, false)) device_->fail_next_launch();
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
  gpu::WatchedDevice::Copies copies_before_finish_;
  bool launch_in_finish_fails_ = false;
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
    restart();
    SteppedSequence one(1), two(2);
    const std::vector<LogitsUse> uses(2, is_summarised ? kSampled : kWhole);
    for (int i = 0; i < 20; ++i) {
      const StepLogits logits = step({&one, &two}, 1, uses).value();
      for (int64_t row = 0; row < 2; ++row) {
        const std::vector<float> copy = copy_of(logits.row(row).value());
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
    return copy_of(step({&sequence}, 1, {&kWhole, 1}).value().row(0).value());
  };
  SteppedSequence first(1), second(2);
  const auto compute_some = [&](SteppedSequence& sequence) {
    ASSERT_TRUE(step({&sequence}, 20, {&kWhole, 1}));
  };
  compute_some(second);
  const std::vector<float> expected = row_of(second);
  second.computed = 20;
  compute_some(first);
  for (int i = 0; i < 4; ++i) {  // launched, recorded, replayed; and when it is waited for
    row_of(first);
    second.computed = 20;
    copies_.clear();
    if (i < 3) {
      device_->fail_next_launch();
    } else {
      device_->fail_next_wait();
    }
    EXPECT_FALSE(step({&second}, 1, {&kWhole, 1}));
    EXPECT_EQ(copies_.waits, 1);  // nothing is under way
    EXPECT_EQ(row_of(second), expected) << "failure " << i;
  }
}

// More rows of logits than the device has room for are computed in pieces: none of them keeps
// start() waiting, and of each there is what was asked for.
TEST_P(GpuStep, ManyRowsComeInPieces) {
  constexpr int64_t kTokens = 7;
  constexpr int64_t kRows = 3 * kTokens;
  static_assert(kRows > 2 * kStepRowsAtOnce);
  std::vector<std::vector<float>> expected;
  {
    restart(kRows);
    std::vector<SteppedSequence> all{SteppedSequence(0), SteppedSequence(1), SteppedSequence(2)};
    const std::vector<LogitsUse> whole(kRows, kWhole);
    const StepLogits logits = step({&all[0], &all[1], &all[2]}, kTokens, whole, kTokens).value();
    for (int64_t row = 0; row < kRows; ++row)
      expected.push_back(copy_of(logits.row(row).value()));
  }
  restart();
  std::vector<LogitsUse> uses;
  for (int64_t row = 0; row < kRows; ++row)
    uses.push_back(row % 5 < 2 ? kWhole : row % 5 == 2 ? kBest : kSampled);
  std::vector<SteppedSequence> owned{SteppedSequence(0), SteppedSequence(1), SteppedSequence(2)};
  const StepLogits logits = step({&owned[0], &owned[1], &owned[2]}, kTokens, uses, kTokens).value();
  EXPECT_TRUE(copies_before_finish_.to_host.empty());
  EXPECT_EQ(copies_before_finish_.waits, 0);
  ASSERT_EQ(logits.num_rows(), kRows);
  constexpr int64_t kRowBytes = kStepVocabulary * int64_t{sizeof(float)};
  int64_t rows_brought = 0;
  for (const int64_t bytes : copies_.to_host)
    if (bytes % kRowBytes == 0) rows_brought += bytes / kRowBytes;  // no list has that size
  EXPECT_EQ(rows_brought, std::ranges::count(uses, true, &LogitsUse::is_whole));

  // All that was told first: the row itself takes another's place on the device.
  for (int64_t row = 0; row < kRows; ++row) {
    const LogitsUse& use = uses[static_cast<size_t>(row)];
    const auto summary = logits.summary(row);
    ASSERT_EQ(summary.has_value(), !use.is_whole) << row;
    if (summary) expect_summary(*summary, expected[static_cast<size_t>(row)], use);
  }
  for (const int64_t row : {20, 0, 3, 17, 4, 3}) {
    EXPECT_EQ(copy_of(logits.row(row).value()), expected[static_cast<size_t>(row)]) << row;
  }
  // A step like others comes after it.
  EXPECT_TRUE(step({&owned[1]}, 1, {&kBest, 1}).value().summary(0));
}

TEST_P(GpuStep, APieceThatFailsIsTheStepsFailure) {
  SteppedSequence sequence(0);
  launch_in_finish_fails_ = true;
  EXPECT_FALSE(step({&sequence}, 20, std::vector<LogitsUse>(20, kSampled), 20));
  EXPECT_EQ(copies_.waits, 1);
  EXPECT_TRUE(step({&sequence}, 20, std::vector<LogitsUse>(20, kSampled), 20));
}

TEST_P(GpuStep, RefusesABatchBeyondItsBuffers) {
  SteppedSequence sequence(0);
  const auto too_long = step({&sequence}, 41, {&kWhole, 1});
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(step({&sequence}, 40, {&kWhole, 1}));
}

TEST_P(GpuStep, TimingThatFailsLeavesNothingUnderWay) {
  const SteppedSequence sequence(0);
  const MadeUpSequence* const of_batch[] = {&sequence};
  const MadeUpBatch one(of_batch, 1, kStepVocabulary);
  ASSERT_TRUE(model_->time_step(one.batch(), 1));
  copies_.clear();
  device_->fail_next_launch();
  EXPECT_FALSE(model_->time_step(one.batch(), 1));
  EXPECT_EQ(copies_.to_device.size(), 1u);
  EXPECT_EQ(copies_.waits, 1);
  copies_.clear();
  const MadeUpBatch many(of_batch, 9, kStepVocabulary, 9);
  EXPECT_FALSE(model_->time_step(many.batch(), 1));
  EXPECT_TRUE(copies_.to_device.empty());
}

INSTANTIATE_TEST_SUITE_P(Fragments, GpuStep, testing::Bool(), [](const auto& kind) {
  return std::string(kind.param ? "gfx12" : "nvidia");
});

}  // namespace
}  // namespace tetrad
