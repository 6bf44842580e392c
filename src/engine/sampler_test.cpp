#include "engine/sampler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

namespace tetrad {
namespace {

/// The draw number `index` of an answer.
Result<SampledToken> draw(Sampler& sampler, const std::vector<float>& logits, SamplingParams params,
                          uint64_t seed, uint64_t index) {
  static std::vector<TokenId> earlier;
  if (earlier.size() < index) earlier.resize(2 * index);
  params.seed = seed;
  return sampler.sample(logits, params, std::span(earlier).first(index), 0);
}

TokenId sampled(const std::vector<float>& logits, const SamplingParams& params, uint64_t seed,
                uint64_t index) {
  Sampler sampler;
  const auto token = draw(sampler, logits, params, seed, index);
  EXPECT_TRUE(token) << token.error().message;
  return token ? token->id : -1;
}

/// The distribution the header promises, computed the long way round: a softmax over everything,
/// then one filter after the other. `slack` widens (above 0) the filters' borders.
std::map<TokenId, double> distribution(const std::vector<float>& logits,
                                       const SamplingParams& params, double slack = 0) {
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < order.size())
    order.resize(static_cast<size_t>(params.top_k));
  const auto probability = [&](TokenId id) {
    const double best = logits[static_cast<size_t>(order[0])];
    return std::exp((logits[static_cast<size_t>(id)] - best) / params.temperature);
  };
  std::vector<TokenId> likely;
  for (const TokenId id : order) {
    if (probability(id) >= params.min_p * (1 - slack)) likely.push_back(id);
  }
  double total = 0;
  for (const TokenId id : likely)
    total += probability(id);
  std::map<TokenId, double> kept;
  double sum = 0;
  for (const TokenId id : likely) {
    if (!kept.empty() && sum / total >= params.top_p * (1 + slack)) break;
    kept[id] = probability(id);
    sum += probability(id);
  }
  for (auto& [id, weight] : kept)
    weight /= sum;
  return kept;
}

TEST(Sampler, GreedyTakesTheLargest) {
  const SamplingParams greedy{.temperature = 0};
  EXPECT_EQ(sampled({0.5f, -3, 7, 6.9f}, greedy, 1, 2), 2);
  EXPECT_EQ(sampled({-5, -4, -4.5f}, greedy, 1, 2), 1);
  EXPECT_EQ(sampled({-2}, greedy, 0, 0), 0);
}

TEST(Sampler, OfEqualsTheLowestIdIsTaken) {
  EXPECT_EQ(sampled({1, 3, 3, 3, 2}, {.temperature = 0}, 9, 9), 1);
  EXPECT_EQ(sampled({0, 0, 0}, {.temperature = 0}, 9, 9), 0);
  // The filters that keep one candidate keep the same one.
  for (uint64_t index = 0; index < 50; ++index) {
    EXPECT_EQ(sampled({1, 3, 3, 3, 2}, {.temperature = 1, .top_k = 1}, 7, index), 1);
    EXPECT_EQ(sampled({1, 3, 3, 3, 2}, {.temperature = 1, .top_p = 1e-6f}, 7, index), 1);
  }
}

TEST(Sampler, AVerySmallTemperatureIsGreedy) {
  for (uint64_t index = 0; index < 50; ++index)
    EXPECT_EQ(sampled({1e30f, -1e30f, 1.1e30f}, {.temperature = 1e-30f}, 3, index), 2);
}

TEST(Sampler, LogitsThatAreNotNumbersAreAnError) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (size_t place = 0; place < 3; ++place) {
      for (const float temperature : {0.0f, 1.0f}) {
        std::vector<float> logits{1, 2, 3};
        logits[place] = bad;
        Sampler sampler;
        const auto id = draw(sampler, logits, {.temperature = temperature}, 1, 1);
        ASSERT_FALSE(id);
        EXPECT_EQ(id.error().code, ErrorCode::corrupt_data);
      }
    }
  }
}

RC_GTEST_PROP(Sampler, DrawsOnlyWhatTheFiltersLeave, ()) {
  const auto raw =
      *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::inRange(-40, 41)));
  std::vector<float> logits;
  for (const int value : raw)
    logits.push_back(static_cast<float>(value) / 8);
  SamplingParams params;
  params.temperature = static_cast<float>(*rc::gen::inRange(1, 30)) / 10;
  params.top_k = *rc::gen::inRange(0, 12);
  params.top_p = static_cast<float>(*rc::gen::inRange(1, 101)) / 100;
  params.min_p = static_cast<float>(*rc::gen::inRange(0, 101)) / 100;
  const auto seed = *rc::gen::arbitrary<uint64_t>();
  const std::map<TokenId, double> allowed = distribution(logits, params, 1e-5);
  Sampler sampler;
  for (uint64_t index = 0; index < 64; ++index) {
    const auto token = draw(sampler, logits, params, seed, index);
    RC_ASSERT(token.has_value());
    RC_ASSERT(allowed.contains(token->id));
  }
}

/// Pearson's statistic of `counts` against `expected`, as standard deviations above its mean.
double chi_square_excess(const std::map<TokenId, int64_t>& counts,
                         const std::map<TokenId, double>& expected, int64_t num_draws) {
  double statistic = 0;
  for (const auto& [id, probability] : expected) {
    const double mean = probability * static_cast<double>(num_draws);
    const double count = counts.contains(id) ? static_cast<double>(counts.at(id)) : 0.0;
    statistic += (count - mean) * (count - mean) / mean;
  }
  const auto freedom = static_cast<double>(expected.size() - 1);
  return (statistic - freedom) / std::sqrt(2 * freedom);
}

TEST(Sampler, FrequenciesFollowTheDistribution) {
  const std::vector<float> logits{0.3f, 2.0f, -1.0f, 1.5f, 1.5f, 0.0f, -2.0f, 0.9f};
  const SamplingParams cases[] = {
      {.temperature = 1},
      {.temperature = 0.6f},
      {.temperature = 2.5f},
      {.temperature = 1, .top_k = 3},
      {.temperature = 1, .top_p = 0.8f},
      {.temperature = 1, .min_p = 0.2f},
      {.temperature = 1.3f, .top_k = 6, .top_p = 0.9f, .min_p = 0.1f},
  };
  constexpr int64_t kDraws = 20'000;
  for (const SamplingParams& params : cases) {
    const std::map<TokenId, double> expected = distribution(logits, params);
    ASSERT_GE(expected.size(), 2u);
    // Along one request's tokens, and across the first tokens of requests with seeds in a row.
    std::map<TokenId, int64_t> along;
    std::map<TokenId, int64_t> across;
    for (uint64_t i = 0; i < kDraws; ++i) {
      ++along[sampled(logits, params, 1234, i)];
      ++across[sampled(logits, params, i, 0)];
    }
    for (const auto& counts : {along, across}) {
      for (const auto& [id, count] : counts)
        EXPECT_TRUE(expected.contains(id)) << id;
      // The draws are the same at every run; five deviations would be no accident.
      EXPECT_LT(chi_square_excess(counts, expected, kDraws), 5);
    }
  }
}

TEST(Sampler, TheSameSeedGivesTheSameTokens) {
  std::vector<float> logits(500);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>(i * 7919 % 101) / 40;
  const SamplingParams params{.temperature = 1, .top_k = 200, .top_p = 0.95f};
  const auto tokens = [&](uint64_t seed, Sampler& sampler) {
    std::vector<TokenId> ids;
    for (uint64_t index = 0; index < 40; ++index)
      ids.push_back(draw(sampler, logits, params, seed, index).value().id);
    return ids;
  };
  Sampler used;
  Sampler fresh;
  const std::vector<TokenId> first = tokens(42, used);
  EXPECT_EQ(tokens(42, used), first);  // no memory of earlier draws
  EXPECT_EQ(tokens(42, fresh), first);
  EXPECT_NE(tokens(43, fresh), first);
  EXPECT_NE(tokens(42 + (uint64_t{1} << 40), fresh), first);  // all 64 bits of the seed count
}

TEST(UniformAt, StaysInTheUnitIntervalAndFillsIt) {
  int tenths[10] = {};
  for (uint64_t index = 0; index < 10'000; ++index) {
    const double number = uniform_at(0, index);
    ASSERT_GE(number, 0);
    ASSERT_LT(number, 1);
    ++tenths[static_cast<int>(number * 10)];
  }
  for (const int count : tenths)
    EXPECT_NEAR(count, 1000, 150);  // five standard deviations of 30
}

}  // namespace
}  // namespace tetrad
