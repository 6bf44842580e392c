#include "engine/sampler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "engine/logprobs.h"

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

/// Parameters that use everything, of a vocabulary of 40.
SamplingParams arbitrary_params() {
  const auto ids = [](int max_count) {
    return *rc::gen::resize(
        max_count, rc::gen::container<std::vector<TokenId>>(rc::gen::inRange<TokenId>(0, 40)));
  };
  const auto tenths = [](int min, int max) {
    return static_cast<float>(*rc::gen::inRange(min, max + 1)) / 10;
  };
  SamplingParams params;
  params.temperature = tenths(0, 20);
  params.top_k = *rc::gen::inRange(0, 40);
  params.top_p = tenths(1, 10);
  params.min_p = tenths(0, 10);
  params.repetition_penalty = tenths(1, 30);
  params.frequency_penalty = tenths(-20, 20);
  params.presence_penalty = tenths(-20, 20);
  for (const TokenId id : ids(5))
    params.logit_bias.push_back({.id = id, .bias = tenths(-1000, 1000)});
  params.allowed_token_ids = ids(30);
  for (const TokenId id : ids(5))
    params.bad_words.push_back({id});
  params.min_tokens = *rc::gen::inRange(0, 10);
  params.stop_token_ids = ids(5);
  params.logprobs = *rc::gen::inRange(0, 21);
  params.seed = *rc::gen::arbitrary<uint64_t>();
  return params;
}

std::vector<float> arbitrary_logits() {
  std::vector<float> logits;
  for (const int value : *rc::gen::container<std::vector<int>>(40, rc::gen::inRange(-1000, 1000)))
    logits.push_back(static_cast<float>(value) / 100);
  return logits;
}

RC_GTEST_PROP(Sampler, RemembersNothingAndChoosesNothingForbidden, ()) {
  static Sampler used({3, 7, 1000});  // an end token that the vocabulary lacks does no harm
  Sampler fresh({3, 7, 1000});
  const std::vector<float> logits = arbitrary_logits();
  const SamplingParams params = arbitrary_params();
  const auto tokens = *rc::gen::nonEmpty(
      rc::gen::container<std::vector<TokenId>>(rc::gen::inRange<TokenId>(0, 40)));
  const auto num_prompt_tokens = *rc::gen::inRange<int64_t>(1, std::ssize(tokens) + 1);
  const auto chosen = used.sample(logits, params, tokens, num_prompt_tokens);
  const auto again = fresh.sample(logits, params, tokens, num_prompt_tokens);
  RC_ASSERT(chosen.has_value() == again.has_value());
  if (!chosen) {
    RC_ASSERT(chosen.error().code == ErrorCode::invalid_argument);
    return;
  }
  const TokenId id = chosen->id;
  RC_ASSERT(id == again->id);
  RC_ASSERT(chosen->logprobs->token.id == id);
  RC_ASSERT(chosen->logprobs->token.logprob == again->logprobs->token.logprob);
  const auto among = [id](const std::vector<TokenId>& ids) {
    return std::ranges::find(ids, id) != ids.end();
  };
  RC_ASSERT(params.allowed_token_ids.empty() || among(params.allowed_token_ids));
  for (const auto& word : params.bad_words)
    RC_ASSERT(!among(word));
  const bool too_short = std::ssize(tokens) - num_prompt_tokens < params.min_tokens;
  RC_ASSERT(!too_short || (!among({3, 7}) && !among(params.stop_token_ids)));
}

TEST(Sampler, WhatRulesEveryTokenOutIsAnError) {
  Sampler sampler({0});
  const std::vector<TokenId> prompt{0};
  for (const float temperature : {0.0f, 1.0f}) {
    SamplingParams params{.temperature = temperature, .allowed_token_ids = {0}, .min_tokens = 1};
    params.seed = 1;
    const auto chosen = sampler.sample(std::vector<float>{1, 2}, params, prompt, 1);
    ASSERT_FALSE(chosen);
    EXPECT_EQ(chosen.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(chosen.error().message.find("allowed_token_ids"), std::string::npos);
  }
}

TEST(Sampler, FiltersOfALargeVocabularyKeepWhatTheySay) {
  // More candidates than are sorted at first: equal logits, so top_p keeps the lowest ids.
  const std::vector<float> logits(5000, 1.0f);
  const SamplingParams params{.temperature = 1, .top_p = 0.5f};
  Sampler sampler;
  TokenId highest = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed)
    highest = std::max(highest, draw(sampler, logits, params, seed, 0).value().id);
  EXPECT_LT(highest, 2500);
  EXPECT_GT(highest, 2400);
}

TEST(LogitsProcessor, CopiesNothingWhereNothingIsAsked) {
  const std::vector<float> logits{1, 2, 3};
  const std::vector<TokenId> tokens{0, 1, 2};
  LogitsProcessor processor({2});
  const auto untouched = processor.process(logits, {.min_tokens = 2}, tokens, 1);
  EXPECT_EQ(untouched.data(), logits.data());
  const auto changed = processor.process(logits, {.min_tokens = 3}, tokens, 1);
  EXPECT_NE(changed.data(), logits.data());
  EXPECT_EQ(changed[2], -std::numeric_limits<float>::infinity());
}

TEST(Logprobs, OfALargeRangeOfLogits) {
  // The softmax of 0, -1000 and 1e30 in floats would be 0, 0 and not a number.
  const TokenLogprobs logprobs = token_logprobs(std::vector<float>{0, -1000, 1e30f, 1e30f}, 1, 9);
  EXPECT_FLOAT_EQ(logprobs.token.logprob, -1e30f);
  EXPECT_EQ(logprobs.rank, 4);
  ASSERT_EQ(logprobs.top.size(), 4u);
  EXPECT_EQ(logprobs.top[0].id, 2);  // of equals the lower id
  EXPECT_EQ(logprobs.top[1].id, 3);
  EXPECT_FLOAT_EQ(logprobs.top[0].logprob, std::log(0.5f));
  EXPECT_TRUE(token_logprobs(std::vector<float>{5}, 0, 0).top.empty());
  EXPECT_EQ(token_logprobs(std::vector<float>{5}, 0, 0).token.logprob, 0.0f);
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
