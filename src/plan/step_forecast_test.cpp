#include "plan/step_forecast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "plan/models_for_tests.h"

namespace tetrad::plan {
namespace {

using testing::HasSubstr;

constexpr int64_t kUsableBytes = int64_t{30} << 30;
constexpr Layout kEightWithWholeExperts{.tensor_parallel = 8, .expert_parallel = true};
constexpr int64_t kExpertOfAllLayers = 17'553'162'240 / 32;  // bytes; of a GPU's 32

ForecastRequest a_request() {
  return {.rates = {.bytes_per_second = 640e9, .operations_per_second = 190e12},
          .link = {.latency_seconds = 7e-6, .bytes_per_second = 13.5e9},
          .batches = {1, 48},
          .context = 32'768,
          .chunk = 2048};
}

LayoutForecast forecast_of(Layout layout, const ForecastRequest& request) {
  return forecast_layout(minimax_m2_7(), layout, request, {}, kUsableBytes);
}

/// Distinct experts on the rank that has most, of 256 dealt out to 8, by drawing.
double drawn_busiest(int tokens) {
  constexpr int kTrials = 2000;
  std::mt19937 random(11);
  std::vector<int> experts(256);
  for (int i = 0; i < 256; ++i)
    experts[static_cast<size_t>(i)] = i;
  double sum = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<bool> visited(256);
    for (int token = 0; token < tokens; ++token) {
      std::vector<int> chosen;
      std::sample(experts.begin(), experts.end(), std::back_inserter(chosen), 8, random);
      for (const int expert : chosen)
        visited[static_cast<size_t>(expert)] = true;
    }
    int64_t most = 0;
    for (auto rank = visited.begin(); rank != visited.end(); rank += 32)
      most = std::max<int64_t>(most, std::count(rank, rank + 32, true));
    sum += static_cast<double>(most);
  }
  return sum / kTrials;
}

TEST(StepForecast, TheBusiestRankIsWhatRandomRoutingGives) {
  const Roofline roofline(minimax_m2_7(), kEightWithWholeExperts, 15'872, {});
  for (const int tokens : {1, 8, 48}) {
    const double drawn = drawn_busiest(tokens);
    EXPECT_NEAR(roofline.busiest_experts(tokens), drawn, 0.03 * drawn) << tokens << " tokens";
  }
  EXPECT_NEAR(roofline.busiest_experts(100'000), 32, 1e-6);
}

// By hand: 1,013,966,080 bytes for one token (roofline_test.cpp), 15,872 a token of the cache, 188
// messages in which a GPU sends 3,389,092 bytes (collectives_test.cpp).

TEST(StepForecast, OneTokenOnEight) {
  const LayoutForecast forecast = forecast_of(kEight, a_request());
  EXPECT_EQ(forecast.error, "");
  EXPECT_EQ(forecast.weight_bytes, 18'172'240'384);
  ASSERT_EQ(forecast.steps.size(), 3);
  const StepForecast& step = forecast.steps[0];
  EXPECT_NEAR(step.bytes, 1'013'966'080.0 + 32'768.0 * 15'872, 1);
  EXPECT_NEAR(step.seconds().value_or(0), 1'534'059'776 / 640e9 + 188 * 7e-6 + 3'389'092 / 13.5e9,
              1e-9);
  EXPECT_NEAR(step.tokens_per_second().value_or(0), 1 / 0.003963985, 0.01);
}

TEST(StepForecast, AChunkIsBoundByItsSumsOnASlowLink) {
  const StepForecast step = forecast_of(kEight, a_request()).steps.back();
  EXPECT_TRUE(step.is_prefill);
  // 125 sums of 2048 · 3072 floats, of which 7/4 are sent; 62 of 2048 · 2; one token's logits.
  const double sent = 1.75 * (125.0 * 25'165'824 + 62 * 16'384) + 700'224;
  EXPECT_NEAR(step.told.bytes_sent, sent, 1);
  EXPECT_NEAR(step.told.seconds.value_or(0), 188 * 7e-6 + sent / 13.5e9, 1e-9);
  EXPECT_GT(step.told.seconds.value_or(0), step.compute_seconds.value_or(1));
  EXPECT_DOUBLE_EQ(step.seconds().value_or(0),
                   std::max(*step.read_seconds, *step.compute_seconds) + *step.told.seconds);
}

TEST(StepForecast, WholeExpertsAreReadUnequally) {
  const StepForecast cut = forecast_of(kEight, a_request()).steps[0];
  const StepForecast dealt = forecast_of(kEightWithWholeExperts, a_request()).steps[0];
  // On average each of eight GPUs has one of the eight experts, at most 2.55 (drawn above).
  const double excess = kExpertOfAllLayers * (drawn_busiest(1) - 1);
  EXPECT_NEAR(dealt.bytes - cut.bytes, excess, 0.05 * excess);
  EXPECT_DOUBLE_EQ(dealt.told.bytes_sent, cut.told.bytes_sent);
}

TEST(StepForecast, OneRankHasNoSumsAndNeedsNoLink) {
  ForecastRequest request = a_request();
  request.link = {};
  const LayoutForecast alone = forecast_of({.tensor_parallel = 1}, request);
  EXPECT_EQ(alone.kv_tokens, 0);  // 143 GB of weights
  const StepForecast& step = alone.steps[0];
  EXPECT_DOUBLE_EQ(step.seconds().value_or(0), step.bytes / 640e9);
  EXPECT_FALSE(forecast_of(kEight, request).steps[0].seconds());
}

TEST(StepForecast, ALayoutThatDoesNotDivideSaysWhy) {
  const LayoutForecast forecast = forecast_of({.tensor_parallel = 3}, a_request());
  EXPECT_THAT(forecast.error, HasSubstr("8 KV heads do not divide over 3 ranks"));
  EXPECT_TRUE(forecast.steps.empty());
}

TEST(StepForecast, LayoutsArePowersOfTwoAndTheChosenOne) {
  std::vector<std::string> names;
  for (const Layout layout : layouts_to_compare(8, 6)) {
    names.push_back(fmt::format("{}{}", layout.tensor_parallel, layout.expert_parallel ? "e" : ""));
  }
  EXPECT_THAT(names, testing::ElementsAre("1", "2", "2e", "4", "4e", "6", "6e", "8", "8e"));
}

}  // namespace
}  // namespace tetrad::plan
