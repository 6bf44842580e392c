// What is chosen by a summary of a row is what is chosen by the row, to the bit, or nothing.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <utility>

#include "engine/sampler.h"
#include "engine/sampling_cases_for_tests.h"

namespace tetrad {
namespace {

/// A summary as a device may make it: `wanted` tokens or more, the weights as wrong as is allowed.
struct MadeSummary {
  MadeSummary(const std::vector<float>& logits, const LogitsUse& use, size_t wanted,
              double error_of_weights) {
    const auto best = std::ranges::max_element(logits);
    row.vocab_size = std::ssize(logits);
    row.largest = *best;
    row.best = static_cast<int32_t>(best - logits.begin());
    row.bound = std::numeric_limits<float>::infinity();
    if (use.temperature == 0) return;
    for (const float logit : logits)
      row.weights += std::exp((double{logit} - *best) / use.temperature);
    row.weights_error = row.weights * kError;
    row.weights += row.weights_error * error_of_weights;
    std::vector<float> sorted = logits;
    std::ranges::sort(sorted, std::greater{});
    row.bound = sorted[std::min(wanted, sorted.size()) - 1];
    for (size_t id = 0; id < logits.size(); ++id) {
      if (logits[id] >= row.bound) likely.push_back({logits[id], static_cast<uint32_t>(id)});
    }
    row.likely = likely;
  }
  MadeSummary(const MadeSummary&) = delete;
  MadeSummary& operator=(const MadeSummary&) = delete;

  static constexpr double kError = 0x1p-16;
  RowSummary row;
  std::vector<LikelyToken> likely;
};

TEST(SamplerSummary, ChoosesAsTheRowDoes) {
  std::mt19937_64 random(21);
  Sampler by_row;
  Sampler by_summary;
  int decided = 0;
  int asked = 0;
  for (int round = 0; round < 1500; ++round) {
    const size_t count = 1 + random() % std::array{5u, 200u, 700u, 6000u}[random() % 4];
    const std::vector<float> logits = logits_of_some_kind(random, count);
    SamplingParams params = params_of_some_kind(random, count);
    const bool is_restricted = random() % 4 == 0;
    const TokenSet all_allowed = allowed_of_some_kind(random, count);
    const TokenSet* allowed = is_restricted ? &all_allowed : nullptr;
    const LogitsUse use = Sampler::use_of(params, is_restricted, 0);
    if (use.is_whole) continue;
    const double error = std::array{-1.0, 0.0, 0.5, 1.0}[random() % 4];
    const MadeSummary made(logits, use, 72, error);
    for (int draw = 0; draw < 4; ++draw) {
      params.seed = random();
      const auto chosen = by_summary.sample(made.row, params, {}, 0, allowed);
      ASSERT_TRUE(chosen) << chosen.error().message;
      ++asked;
      if (!*chosen) continue;
      ++decided;
      ASSERT_EQ((*chosen)->id, by_row.sample(logits, params, {}, 0, allowed)->id)
          << "round " << round << ": " << count << " logits, temperature " << params.temperature
          << ", top_k " << params.top_k << ", top_p " << params.top_p << ", min_p " << params.min_p;
    }
  }
  EXPECT_GT(asked, 2000);
  EXPECT_GT(decided, asked * 2 / 3);
}

TEST(SamplerSummary, DecidesWhateverIsAskedOfFewTokens) {
  std::mt19937_64 random(22);
  const std::vector<float> logits = normal_logits(random, 20'000, 3);
  Sampler sampler;
  const SamplingParams asked[] = {{.temperature = 0},
                                  {.temperature = 1, .top_k = 40, .top_p = 0.95f},
                                  {.temperature = 0.7f, .top_k = 71},
                                  {.temperature = 1.2f, .top_k = 1},
                                  {.temperature = 0.5f, .min_p = 0.1f},
                                  {.temperature = 0.3f, .top_p = 0.5f},
                                  {.temperature = 1, .top_k = 20, .min_p = 0.01f}};
  for (SamplingParams params : asked) {
    const MadeSummary made(logits, Sampler::use_of(params, false, 0), 72, 1);
    for (int draw = 0; draw < 100; ++draw) {
      params.seed = random();
      const auto chosen = sampler.sample(made.row, params, {}, 0);
      ASSERT_TRUE(chosen && *chosen) << "top_k " << params.top_k << ", top_p " << params.top_p;
      ASSERT_EQ((*chosen)->id, sampler.sample(logits, params, {}, 0)->id);
    }
  }
}

TEST(SamplerSummary, DecidesNothingOnTheBorderOfTopP) {
  // Half of the tokens have half of the weight exactly.
  Sampler sampler;
  for (const size_t count : {2u, 8u, 64u}) {
    const std::vector<float> logits(count, 1.5f);
    for (const double error : {-1.0, 0.0, 1.0}) {
      const SamplingParams params{.temperature = 1, .top_p = 0.5f, .seed = 3};
      const MadeSummary made(logits, Sampler::use_of(params, false, 0), count, error);
      const auto chosen = sampler.sample(made.row, params, {}, 0);
      ASSERT_TRUE(chosen);
      EXPECT_FALSE(*chosen) << count << " tokens";
    }
  }
}

TEST(SamplerSummary, DecidesByTemperatureAloneAmongTheLikeliest) {
  std::mt19937_64 random(23);
  std::vector<float> logits = normal_logits(random, 20'000, 3);
  // Twenty tokens that weigh as much as a model's best ones do: about 97 % of all.
  for (size_t i = 0; i < 20; ++i)
    logits[i * 997] = 18 - static_cast<float>(i % 5) / 4;
  Sampler sampler;
  int decided = 0;
  for (int draw = 0; draw < 400; ++draw) {
    const SamplingParams params{.temperature = 1, .seed = random()};
    const MadeSummary made(logits, Sampler::use_of(params, false, 0), 72, draw % 2 == 0 ? 1 : -1);
    const auto chosen = sampler.sample(made.row, params, {}, 0);
    ASSERT_TRUE(chosen);
    const TokenId by_row = sampler.sample(logits, params, {}, 0)->id;
    if (*chosen) {
      ASSERT_EQ((*chosen)->id, by_row);
      ++decided;
    } else {
      // Where the random number fell it was none of these, or too close to a border.
      EXPECT_GT(uniform_at(*params.seed, 0), 0.5);
    }
  }
  EXPECT_GT(decided, 360);
  EXPECT_LT(decided, 400);
}

TEST(SamplerSummary, SaysNothingWhereTheListMayLackTokens) {
  std::vector<float> logits(1000, 0.0f);
  for (size_t i = 0; i < 30; ++i)
    logits[i * 7] = 5 + static_cast<float>(i);
  TokenSet all_but_one(1000);
  for (TokenId id = 1; id < 1000; ++id)
    all_but_one.insert(id);
  const auto chosen = [&](const SamplingParams& params, size_t wanted, const TokenSet* allowed) {
    Sampler sampler;
    const MadeSummary made(logits, Sampler::use_of(params, allowed != nullptr, 0), wanted, 0);
    return sampler.sample(made.row, params, {}, 0, allowed).value();
  };
  EXPECT_FALSE(chosen({.temperature = 1, .top_k = 30}, 30, nullptr)) << "are there more?";
  EXPECT_TRUE(chosen({.temperature = 1, .top_k = 29}, 30, nullptr));
  EXPECT_FALSE(chosen({.temperature = 1, .min_p = 1e-12f}, 5, nullptr));
  EXPECT_TRUE(chosen({.temperature = 1, .min_p = 0.5f}, 5, nullptr));
  EXPECT_FALSE(chosen({.temperature = 1, .top_p = 0.9999f}, 5, nullptr));
  EXPECT_FALSE(chosen({.temperature = 1}, 30, &all_but_one)) << "what they weigh is not known";
  // What a constraint allows is not among the likeliest, or not enough of it.
  TokenSet unlikely(1000);
  unlikely.insert(3);
  EXPECT_FALSE(chosen({.temperature = 0}, 30, &unlikely));
  EXPECT_FALSE(chosen({.temperature = 1, .top_k = 5}, 30, &unlikely));
  TokenSet one_likely = unlikely;
  one_likely.insert(14);
  const auto allowed_best = chosen({.temperature = 0}, 30, &one_likely);
  ASSERT_TRUE(allowed_best);
  EXPECT_EQ(allowed_best->id, 14);
  EXPECT_FALSE(chosen({.temperature = 1, .top_k = 5}, 30, &one_likely));
  one_likely.insert(21);
  const auto first_of_two = chosen({.temperature = 1, .top_k = 1}, 30, &one_likely);
  ASSERT_TRUE(first_of_two);
  EXPECT_EQ(first_of_two->id, 21);
}

TEST(SamplerSummary, LogitsThatAreNoNumbersAreTheSameError) {
  Sampler sampler;
  const SamplingParams params{.temperature = 0};
  const auto chosen =
      sampler.sample(RowSummary{.vocab_size = 3, .is_finite = false}, params, {}, 0);
  ASSERT_FALSE(chosen);
  const std::vector<float> logits{1, std::numeric_limits<float>::quiet_NaN(), 2};
  const auto by_row = sampler.sample(logits, params, {}, 0);
  EXPECT_EQ(chosen.error().code, by_row.error().code);
  EXPECT_EQ(chosen.error().message, by_row.error().message);
}

TEST(SamplerSummary, WholeRowsAreAskedForWhereEveryLogitCounts) {
  const SamplingParams likely{.temperature = 1, .top_k = 40};
  EXPECT_FALSE(Sampler::use_of(likely, false, 0).is_whole);
  EXPECT_FALSE(Sampler::use_of(likely, true, 0).is_whole);
  EXPECT_EQ(Sampler::use_of(likely, false, 0).temperature, 1.0f);
  EXPECT_EQ(Sampler::use_of({.temperature = 0}, false, 0).temperature, 0.0f);
  EXPECT_GT(Sampler::use_of({.temperature = 0}, true, 0).temperature, 0.0f) << "of a constraint";
  const auto is_whole = [&](auto member, auto value, int64_t num_generated = 0) {
    SamplingParams changed = likely;
    changed.*member = std::move(value);
    return Sampler::use_of(changed, false, num_generated).is_whole;
  };
  EXPECT_TRUE(is_whole(&SamplingParams::logprobs, 0));
  EXPECT_TRUE(is_whole(&SamplingParams::repetition_penalty, 1.1f));
  EXPECT_TRUE(is_whole(&SamplingParams::frequency_penalty, 0.5f));
  EXPECT_TRUE(is_whole(&SamplingParams::presence_penalty, 0.5f));
  EXPECT_TRUE(is_whole(&SamplingParams::logit_bias, std::vector<LogitBias>{{3, 1}}));
  EXPECT_TRUE(is_whole(&SamplingParams::allowed_token_ids, std::vector<TokenId>{3}));
  EXPECT_TRUE(is_whole(&SamplingParams::bad_words, std::vector<std::vector<TokenId>>{{3}}));
  EXPECT_FALSE(is_whole(&SamplingParams::top_k, int64_t{0})) << "most draws are of the likeliest";
  EXPECT_TRUE(Sampler::use_of({.temperature = 1}, true, 0).is_whole) << "of a constraint's all";
  EXPECT_TRUE(is_whole(&SamplingParams::top_k, int64_t{1000})) << "more than are told";
  EXPECT_TRUE(is_whole(&SamplingParams::min_tokens, int64_t{5}, 4));
  EXPECT_FALSE(is_whole(&SamplingParams::min_tokens, int64_t{5}, 5));
}

}  // namespace
}  // namespace tetrad
