// What is said of rows of logits, on the emulation, against the plain definition.

#include "kernels/gpu/sample_summary.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/gpu/gpu_test_util.h"

namespace tetrad::gpu {
namespace {

using testing_gpu::Emulation;
using testing_gpu::kEmulations;
using testing_gpu::random_floats;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// What comes of some rows.
struct Summarized {
  std::vector<LogitsSummary> summaries;
  std::vector<LikelyToken> candidates;
};

class SampleSummaryTest : public testing::TestWithParam<testing_gpu::EmulationKind> {
 protected:
  /// A row for each scale.
  static Summarized summarize(const std::vector<float>& rows, const std::vector<float>& scales,
                              ThreadOrder order = ThreadOrder::shuffled) {
    Emulation gpu(GetParam(), order);
    const size_t count = scales.size();
    const auto vocab = static_cast<uint32_t>(rows.size() / count);
    const SummarizeLogitsArgs args{.logits = gpu.copy(rows),
                                   .vocab_size = vocab,
                                   .exponent_scales = gpu.copy(scales),
                                   .summaries = gpu.zeros<LogitsSummary>(count),
                                   .candidates = gpu.zeros<LikelyToken>(count * kMaxCandidates),
                                   .maxima = gpu.zeros<uint32_t>(count * summary_spans(vocab)),
                                   .parts = gpu.zeros<SummaryPart>(count * summary_tiles(vocab)),
                                   .finished = gpu.zeros<uint32_t>(count)};
    gpu.kernels().summarize_logits(args, static_cast<uint32_t>(count));
    gpu.check();
    EXPECT_EQ(gpu.read(args.finished, count), std::vector<uint32_t>(count));
    return {gpu.read(args.summaries, count), gpu.read(args.candidates, count * kMaxCandidates)};
  }

  /// One row of numbers; returns how many candidates there are.
  static uint32_t check_row(const std::vector<float>& logits, double temperature) {
    const auto scale = static_cast<float>(std::numbers::log2e / temperature);
    const Summarized found = summarize(logits, {scale});
    const LogitsSummary& summary = found.summaries[0];
    EXPECT_EQ(summary.is_finite, 1u);
    const auto best = std::ranges::max_element(logits);
    EXPECT_EQ(summary.largest, *best);
    EXPECT_EQ(summary.best, best - logits.begin());
    double sum = 0;
    for (const float logit : logits)
      sum += std::exp((double{logit} - *best) / temperature);
    EXPECT_NEAR(summary.sum, sum, sum * kSummarySumError);
    EXPECT_LE(summary.bound, summary.largest);
    check_candidates(logits, summary, found.candidates);
    return summary.num_candidates;
  }

  static void check_candidates(const std::vector<float>& logits, const LogitsSummary& summary,
                               const std::vector<LikelyToken>& candidates) {
    if (summary.num_candidates > kMaxCandidates) return;
    size_t listed = 0;
    for (size_t id = 0; id < logits.size(); ++id) {
      if (!(logits[id] >= summary.bound)) continue;
      ASSERT_LT(listed, summary.num_candidates);
      ASSERT_EQ(candidates[listed].id, id);
      ASSERT_EQ(std::bit_cast<uint32_t>(candidates[listed].logit),
                std::bit_cast<uint32_t>(logits[id]));
      ++listed;
    }
    EXPECT_EQ(listed, summary.num_candidates);
  }
};

constexpr size_t kSizes[] = {1,    2,    5,    31,   32,   63,   64,   65,    200,
                             1000, 2047, 2048, 2049, 6144, 6145, 9999, 20'011};

TEST_P(SampleSummaryTest, OfRandomRows) {
  uint32_t seed = 0;
  for (const size_t size : kSizes) {
    for (const double temperature : {1.0, 0.3}) {
      const std::vector<float> logits = random_floats(size, 3, ++seed);
      SCOPED_TRACE(testing::Message() << size << " logits");
      const uint32_t candidates = check_row(logits, temperature);
      // Half of the spans there are, but no more than are wanted; and not many tokens more.
      const size_t spans = (size + kSummarySpan - 1) / kSummarySpan;
      EXPECT_GE(candidates, std::min<size_t>((spans + 1) / 2, kWantedSpans));
      EXPECT_LE(candidates, kMaxCandidates);
    }
  }
}

TEST_P(SampleSummaryTest, OfRowsWithEquals) {
  uint32_t seed = 100;
  for (const size_t size : kSizes) {
    SCOPED_TRACE(testing::Message() << size << " logits");
    for (const float step : {0.25f, 2.0f, 1000.0f}) {
      std::vector<float> logits = random_floats(size, 3, ++seed);
      for (float& logit : logits)
        logit = std::round(logit / step) * step;
      check_row(logits, 1);
    }
    check_row(std::vector<float>(size, -2.5f), 0.7);
    // Of the likeliest some thousands are alike: those beyond them are listed, or none are.
    std::vector<float> few(size, 1.0f);
    few[size / 2] = 4;
    few[size - 1] = 4;
    check_row(few, 1);
  }
}

TEST_P(SampleSummaryTest, OfHugeTinyAndNegativeLogits) {
  for (const size_t size : {5u, 300u, 7000u}) {
    for (const float width : {1e38f, 1e30f, 1e-30f, 1e-41f}) {
      for (const double temperature : {1.0, 1e-30, 100.0}) {
        SCOPED_TRACE(testing::Message() << size << " logits of " << width);
        std::vector<float> logits = random_floats(size, width, 7);
        for (float& logit : logits)
          logit = std::clamp(logit, -3.4e38f, 3.4e38f);
        check_row(logits, temperature);
        for (float& logit : logits)
          logit = -std::fabs(logit);
        check_row(logits, temperature);
      }
    }
    std::vector<float> zeros(size, -0.0f);
    zeros[size / 3] = 0.0f;
    const Summarized found = summarize(zeros, {1.0f});
    EXPECT_EQ(found.summaries[0].best, 0u) << "-0 is no less than 0";
    EXPECT_EQ(found.summaries[0].sum, static_cast<float>(size));
  }
}

TEST_P(SampleSummaryTest, SeesWhatIsNoNumber) {
  const std::vector<float> numbers = random_floats(4500, 2, 5);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          -std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    for (const size_t place : {0u, 31u, 63u, 2047u, 2048u, 4097u, 4499u}) {
      std::vector<float> logits = numbers;
      logits[place] = bad;
      for (const float scale : {0.0f, 1.0f})
        EXPECT_EQ(summarize(logits, {scale}).summaries[0].is_finite, 0u) << bad << " at " << place;
    }
  }
}

TEST_P(SampleSummaryTest, OfOneRowWhateverTheOthersAre) {
  constexpr size_t kRows = 5;
  constexpr size_t kSize = 4133;
  const std::vector<float> scales{1.5f, 0, 1.5f, 0.5f, 0};
  std::vector<float> rows = random_floats(kRows * kSize, 4, 8);
  rows[1 * kSize + 7] = kInfinity;
  for (const ThreadOrder order : {ThreadOrder::ascending, ThreadOrder::descending}) {
    const Summarized together = summarize(rows, scales, order);
    for (size_t row = 0; row < kRows; ++row) {
      const std::vector<float> logits(rows.begin() + static_cast<ptrdiff_t>(row * kSize),
                                      rows.begin() + static_cast<ptrdiff_t>((row + 1) * kSize));
      const Summarized alone = summarize(logits, {scales[row]});
      const LogitsSummary& of_all = together.summaries[row];
      EXPECT_EQ(of_all.is_finite, row == 1 ? 0u : 1u);
      if (row == 1) continue;
      const LogitsSummary& of_one = alone.summaries[0];
      EXPECT_EQ(of_all.best, of_one.best);
      EXPECT_EQ(of_all.largest, of_one.largest);
      EXPECT_EQ(of_all.sum, of_one.sum);
      EXPECT_EQ(of_all.bound, of_one.bound);
      EXPECT_EQ(of_all.num_candidates, of_one.num_candidates);
      if (scales[row] == 0) continue;
      const auto first = together.candidates.begin() + static_cast<ptrdiff_t>(row * kMaxCandidates);
      check_candidates(logits, of_all, {first, first + kMaxCandidates});
    }
  }
}

TEST_P(SampleSummaryTest, OfAVocabularyAsLargeAsTheModels) {
  std::vector<float> logits = random_floats(200'064, 2.5f, 9);
  logits[200'063] = 40;
  const uint32_t candidates = check_row(logits, 1);
  EXPECT_GE(candidates, kWantedSpans);
  EXPECT_LE(candidates, kMaxCandidates);
}

INSTANTIATE_TEST_SUITE_P(Fragments, SampleSummaryTest, testing::ValuesIn(kEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace tetrad::gpu
