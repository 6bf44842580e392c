// The sampler looks at few tokens and at approximate weights where it can. Here its results are
// compared with those of the definition, computed the long way: they must be the same bits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/splitmix.h"
#include "engine/logprobs.h"
#include "engine/sampler.h"
#include "engine/sampling_cases_for_tests.h"

namespace tetrad {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

struct Definition {
  const std::vector<float>& logits;
  const SamplingParams& params;

  float logit(TokenId id) const { return logits[static_cast<size_t>(id)]; }
  double best() const { return *std::ranges::max_element(logits); }
  double weight(TokenId id) const { return std::exp((logit(id) - best_) / params.temperature); }
  void sort(std::vector<TokenId>& ids) const {
    std::ranges::stable_sort(ids, [this](TokenId a, TokenId b) { return logit(a) > logit(b); });
  }

  TokenId choose(double uniform) const {
    if (params.temperature == 0)
      return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
    std::vector<TokenId> ids = not_unlikely();
    sort(ids);
    if (params.top_k > 0 && params.top_k < std::ssize(ids))
      ids.resize(static_cast<size_t>(params.top_k));
    double total = 0;
    for (const TokenId id : ids)
      total += weight(id);
    if (params.top_p < 1) total = keep_top_p(ids, params.top_p * total);
    double left = uniform * total;
    size_t chosen = 0;
    while (chosen + 1 < ids.size() && left >= weight(ids[chosen]))
      left -= weight(ids[chosen++]);
    return ids[chosen];
  }

  std::vector<TokenId> not_unlikely() const {
    std::vector<TokenId> ids;
    for (TokenId id = 0; id < std::ssize(logits); ++id) {
      const double least = best_ + std::log(double{params.min_p}) * params.temperature;
      if (logit(id) != kForbidden && (params.min_p == 0 || logit(id) >= least)) ids.push_back(id);
    }
    return ids;
  }

  double keep_top_p(std::vector<TokenId>& ids, double least) const {
    double kept = 0;
    size_t count = 0;
    while (count < ids.size() && (count == 0 || kept < least))
      kept += weight(ids[count++]);
    ids.resize(count);
    return kept;
  }

  const double best_ = best();
};

TEST(SamplerDefinition, ChoosesTheSameToken) {
  std::mt19937_64 random(11);
  Sampler sampler;
  for (int round = 0; round < 600; ++round) {
    const size_t count = 1 + random() % std::array{5u, 200u, 700u, 6000u}[random() % 4];
    const std::vector<float> logits = logits_of_some_kind(random, count);
    SamplingParams params = params_of_some_kind(random, count);
    const bool restricted = random() % 4 == 0;
    const TokenSet allowed = allowed_of_some_kind(random, count);
    std::vector<float> left = logits;
    for (TokenId id = 0; restricted && id < std::ssize(left); ++id) {
      if (!allowed.contains(id)) left[static_cast<size_t>(id)] = kForbidden;
    }
    const Definition definition{left, params};
    for (int draw = 0; draw < 4; ++draw) {
      params.seed = random();
      const auto chosen = sampler.sample(logits, params, {}, 0, restricted ? &allowed : nullptr);
      ASSERT_TRUE(chosen) << chosen.error().message;
      ASSERT_EQ(chosen->id, definition.choose(uniform_at(*params.seed, 0)))
          << "round " << round << ": " << count << " logits, temperature " << params.temperature
          << ", top_k " << params.top_k << ", top_p " << params.top_p << ", min_p " << params.min_p;
    }
  }
}

/// What times `odd` is 1: each step has twice as many bits right.
uint64_t inverse(uint64_t odd) {
  uint64_t result = odd;
  for (int i = 0; i < 6; ++i)
    result *= 2 - odd * result;
  return result;
}

uint64_t undo_splitmix(uint64_t x) {
  x = (x ^ (x >> 31) ^ (x >> 62)) * inverse(0x94D049BB133111EB);
  x = (x ^ (x >> 27) ^ (x >> 54)) * inverse(0xBF58476D1CE4E5B9);
  return x ^ (x >> 30) ^ (x >> 60);
}

/// The seed whose first random number is `uniform`, a multiple of 2^-53.
uint64_t seed_of(double uniform) {
  const auto bits = static_cast<uint64_t>(uniform * 0x1p53) << 11;
  return undo_splitmix(undo_splitmix(bits) - kSplitMixStep);
}

TEST(SamplerDefinition, ChoosesTheSameOnTheBordersBetweenTokens) {
  // There approximate weights cannot say which token it is.
  Sampler sampler;
  for (const size_t count : {2u, 7u, 64u, 100u, 1024u, 3000u}) {
    const std::vector<float> equals(count, 2.0f);
    std::vector<float> falling(count, 2.0f);
    for (size_t i = 0; i < count; ++i)
      falling[i] -= static_cast<float>(i) / 32;
    for (const auto& logits : {equals, falling}) {
      SamplingParams params{.temperature = 1};
      const Definition definition{logits, params};
      double total = 0;
      for (TokenId id = 0; id < std::ssize(logits); ++id)
        total += definition.weight(id);
      double before = 0;
      for (TokenId id = 0; id < std::ssize(logits) && id < 300; ++id) {
        for (const double units : {-1, 0, 1}) {
          const double uniform =
              std::clamp(std::round(before / total * 0x1p53) + units, 0.0, 0x1p53 - 1) * 0x1p-53;
          params.seed = seed_of(uniform);
          ASSERT_EQ(uniform_at(*params.seed, 0), uniform);
          ASSERT_EQ(sampler.sample(logits, params, {}, 0)->id, definition.choose(uniform))
              << count << " logits, before " << id << ", " << units;
        }
        before += definition.weight(id);
      }
    }
  }
}

TEST(SamplerDefinition, ChoosesTheSameOfManyTokensByTemperatureAlone) {
  std::mt19937_64 random(13);
  const std::vector<float> logits = normal_logits(random, 20'000, 0.5f);
  Sampler sampler;
  for (int draw = 0; draw < 200; ++draw) {
    const SamplingParams params{.temperature = draw % 2 == 0 ? 1.0f : 0.7f, .seed = random()};
    const Definition definition{logits, params};
    ASSERT_EQ(sampler.sample(logits, params, {}, 0)->id,
              definition.choose(uniform_at(*params.seed, 0)));
  }
}

TEST(SamplerDefinition, SumsOverTopKGoByLikelihood) {
  // Each of them alone in its block: as many blocks as tokens reach the last one's logit.
  std::vector<float> logits(1000, 0.0f);
  logits[10] = 1;
  logits[200] = 3;
  logits[400] = 2;
  SamplingParams params{.temperature = 1, .top_k = 3};
  const Definition definition{logits, params};
  Sampler sampler;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    params.seed = seed;
    EXPECT_EQ(sampler.sample(logits, params, {}, 0)->id, definition.choose(uniform_at(seed, 0)));
  }
}

TEST(SamplerDefinition, MinPEndsBetweenTwoFloats) {
  Sampler sampler;
  for (const float min_p : {0.5f, 0.3f, 0.9f, 0.123f}) {
    for (const float best : {0.0f, -1.5f, 7.3f}) {
      const double least = best + std::log(double{min_p});
      auto passes = static_cast<float>(least);
      if (passes < least) passes = std::nextafter(passes, 100.0f);
      const std::vector<float> logits{std::nextafter(passes, -100.0f), best, passes};
      SamplingParams params{.temperature = 1, .min_p = min_p};
      std::vector<int> count(3);
      for (uint64_t seed = 0; seed < 100; ++seed) {
        params.seed = seed;
        ++count[static_cast<size_t>(sampler.sample(logits, params, {}, 0)->id)];
      }
      EXPECT_EQ(count[0], 0);
      EXPECT_GT(count[1], 0);
      EXPECT_GT(count[2], 0);
    }
  }
}

TEST(SamplerDefinition, ChoosesTheSameWhereTopPIsReachedExactly) {
  // Approximate weights cannot say on which side of the border such a token is.
  Sampler sampler;
  for (const float top_p : {0.125f, 0.25f, 0.5f, 0.75f}) {
    for (const size_t count : {8u, 64u, 1024u, 8000u}) {
      std::vector<float> logits(count, 2.0f);
      SamplingParams params{.temperature = 1, .top_p = top_p};
      const Definition definition{logits, params};
      for (uint64_t seed = 0; seed < 20; ++seed) {
        params.seed = seed;
        EXPECT_EQ(sampler.sample(logits, params, {}, 0)->id,
                  definition.choose(uniform_at(seed, 0)));
      }
    }
  }
}

TEST(SamplerDefinition, EqualsOfTheLastOfTopKComeByTheirIds) {
  // 100 of 1,000 tokens are equal, and top_k ends within them.
  std::vector<float> logits(1000, 0.0f);
  for (size_t i = 5; i < logits.size(); i += 10)
    logits[i] = 3;
  logits[700] = 4;
  SamplingParams params{.temperature = 1, .top_k = 60};
  Sampler sampler;
  std::vector<TokenId> seen;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    params.seed = seed;
    seen.push_back(sampler.sample(logits, params, {}, 0)->id);
  }
  std::ranges::sort(seen);
  seen.erase(std::ranges::unique(seen).begin(), seen.end());
  std::vector<TokenId> expected;
  for (TokenId id = 5; expected.size() < 59; id += 10)
    expected.push_back(id);
  expected.push_back(700);
  EXPECT_EQ(seen, expected);
}

TokenLogprobs logprobs_by_definition(const std::vector<float>& logits, TokenId token,
                                     int64_t num_top) {
  const double best = *std::ranges::max_element(logits);
  double total = 0;
  for (const float logit : logits)
    total += std::exp(logit - best);
  std::vector<TokenLogprob> all;
  for (TokenId id = 0; id < std::ssize(logits); ++id) {
    const float logit = logits[static_cast<size_t>(id)];
    all.push_back({.id = id, .logprob = static_cast<float>(logit - best - std::log(total))});
  }
  TokenLogprobs result{.token = all[static_cast<size_t>(token)]};
  for (const float logit : logits)
    result.rank += logit > logits[static_cast<size_t>(token)] ? 1 : 0;
  std::ranges::stable_sort(all, [&](const TokenLogprob& a, const TokenLogprob& b) {
    return logits[static_cast<size_t>(a.id)] > logits[static_cast<size_t>(b.id)];
  });
  all.resize(std::min(all.size(), static_cast<size_t>(num_top)));
  result.top = all;
  return result;
}

TEST(LogprobsDefinition, AreTheSameBits) {
  std::mt19937_64 random(12);
  for (int round = 0; round < 300; ++round) {
    const size_t count = 1 + random() % std::array{5u, 200u, 6000u}[random() % 3];
    std::vector<float> logits = logits_of_some_kind(random, count);
    // Certain of one token: log probabilities near 0, which show every bit of the sum.
    if (round % 3 == 0) logits[random() % count] += static_cast<float>(5 + random() % 30);
    const auto token = static_cast<TokenId>(
        round % 2 == 0 ? std::ranges::max_element(logits) - logits.begin() : random() % count);
    const int64_t num_top = std::array{0, 1, 20, 500}[random() % 4];
    const TokenLogprobs expected = logprobs_by_definition(logits, token, num_top);
    const TokenLogprobs found = token_logprobs(logits, token, num_top);
    ASSERT_EQ(found.token.id, expected.token.id);
    ASSERT_EQ(found.token.logprob, expected.token.logprob) << "round " << round;
    ASSERT_EQ(found.rank, expected.rank);
    ASSERT_EQ(found.top.size(), expected.top.size());
    for (size_t i = 0; i < found.top.size(); ++i) {
      ASSERT_EQ(found.top[i].id, expected.top[i].id) << "round " << round << ", place " << i;
      ASSERT_EQ(found.top[i].logprob, expected.top[i].logprob) << "round " << round;
    }
  }
}

TEST(LogprobsDefinition, AreTheSameBitsWhenTheFirstTokensAreImpossible) {
  // Sums that begin far below what exp() can still tell from 0, and grow.
  std::vector<float> logits(3000);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = -2000.0f + static_cast<float>(i) * 0.6f;
  const auto best = static_cast<TokenId>(logits.size() - 1);
  EXPECT_EQ(token_logprobs(logits, best, 0).token.logprob,
            logprobs_by_definition(logits, best, 0).token.logprob);
}

}  // namespace
}  // namespace tetrad
