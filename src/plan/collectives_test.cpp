#include "plan/collectives.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/models_for_tests.h"

namespace tetrad::plan {
namespace {

using testing::IsEmpty;

// The expected numbers are worked out by hand from the published shapes: 62 layers, hidden size
// 3072, 200,064 tokens.

TEST(Collectives, OneRankTellsNobody) {
  const PlannedModel model = minimax_m2_7();
  const auto none = step_collectives(model.config, {.tensor_parallel = 1}, {});
  EXPECT_THAT(none, IsEmpty());
  EXPECT_EQ(collective_totals(none, {}).seconds, 0.0);
}

TEST(Collectives, OfOneTokenOnEightRanks) {
  const PlannedModel model = minimax_m2_7();
  const auto step = step_collectives(model.config, kEight, {.tokens = 1, .logit_rows = 1});
  ASSERT_EQ(step.size(), 5);
  const auto expect = [&step](size_t i, CollectiveKind kind, int64_t count, int64_t bytes,
                              double sent) {
    EXPECT_EQ(step[i].kind, kind);
    EXPECT_EQ(step[i].count, count);
    EXPECT_EQ(step[i].bytes, bytes);
    EXPECT_DOUBLE_EQ(step[i].bytes_sent, sent);
  };
  expect(0, CollectiveKind::embedding, 1, 12'288, 21'504);
  expect(1, CollectiveKind::qk_norm, 62, 8, 14);
  expect(2, CollectiveKind::attention_output, 62, 12'288, 21'504);
  expect(3, CollectiveKind::experts_output, 62, 12'288, 21'504);
  expect(4, CollectiveKind::logits, 1, 800'256, 700'224);
  const CollectiveTotals totals =
      collective_totals(step, {.latency_seconds = 6e-6, .bytes_per_second = 450e9});
  EXPECT_EQ(totals.count, 188);
  EXPECT_DOUBLE_EQ(totals.bytes_sent, 125 * 21'504 + 62 * 14 + 700'224);
  EXPECT_NEAR(totals.seconds.value_or(0), 188 * 6e-6 + 3'389'092 / 450e9, 1e-12);
}

TEST(Collectives, OfAChunkGatherTheLogitsOfOneToken) {
  const PlannedModel model = minimax_m2_7();
  const auto step = step_collectives(model.config, {.tensor_parallel = 2, .expert_parallel = true},
                                     {.tokens = 2048, .logit_rows = 1});
  EXPECT_EQ(step[1].bytes, 2048 * 8);
  EXPECT_EQ(step[3].bytes, 25'165'824);
  EXPECT_DOUBLE_EQ(step[3].bytes_sent, 25'165'824);  // half of it to the other, and half back
  EXPECT_EQ(step[4].bytes, 800'256);
}

TEST(Collectives, RanksThatHaveFewerTokensSendAsManyLogits) {
  PlannedModel model = minimax_m2_7();
  model.config.vocab_size = 10;
  const auto step = step_collectives(model.config, {.tensor_parallel = 4}, {});
  EXPECT_EQ(step[4].bytes, 4 * 3 * 4);
}

TEST(Collectives, AnUnknownConnectionGivesNoTime) {
  const PlannedModel model = minimax_m2_7();
  const auto step = step_collectives(model.config, kEight, {});
  EXPECT_FALSE(collective_totals(step, {.latency_seconds = 6e-6}).seconds);
  EXPECT_FALSE(collective_totals(step, {.bytes_per_second = 1e9}).seconds);
  EXPECT_GT(collective_totals(step, {}).bytes_sent, 0);
}

}  // namespace
}  // namespace tetrad::plan
