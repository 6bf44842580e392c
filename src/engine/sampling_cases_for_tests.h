#pragma once

// For tests only: logits, parameters and constraints of many kinds.

#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "engine/request.h"
#include "text/token_set.h"

namespace tetrad {

inline std::vector<float> normal_logits(std::mt19937_64& random, size_t count, float deviation) {
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> logits(count);
  for (float& logit : logits)
    logit = normal(random);
  return logits;
}

/// Logits of all kinds: rough ones with many equals, a few tokens far above the rest, all the same.
inline std::vector<float> logits_of_some_kind(std::mt19937_64& random, size_t count) {
  const float width = std::array{0.2f, 1.0f, 3.0f, 30.0f}[random() % 4];
  const float step = std::array{0.0f, 0.0f, 0.25f, 2.0f, 1000.0f}[random() % 5];
  std::normal_distribution<float> normal(-1, width);
  std::vector<float> logits(count);
  for (float& logit : logits)
    logit = step == 0 ? normal(random) : std::round(normal(random) / step) * step;
  if (random() % 2 == 0) {
    for (int i = 0; i < 12; ++i)
      logits[random() % count] += static_cast<float>(random() % 16);
  }
  return logits;
}

inline SamplingParams params_of_some_kind(std::mt19937_64& random, size_t count) {
  const auto one_of = [&](auto... values) {
    return std::array{values...}[random() % sizeof...(values)];
  };
  SamplingParams params;
  params.temperature = one_of(0.0f, 1.0f, 1.0f, 0.6f, 1.5f, 100.0f, 1e-30f);
  params.top_k = one_of(0, 0, 1, 5, 40, 300, static_cast<int>(count), static_cast<int>(count) + 7);
  params.top_p = one_of(1.0f, 0.95f, 0.5f, 0.999999f, 1e-6f);
  params.min_p = one_of(0.0f, 0.0f, 0.0f, 0.05f, 1e-6f, 1.0f);
  return params;
}

/// Some have all tokens of a vocabulary, some a few, some those of a smaller one.
inline TokenSet allowed_of_some_kind(std::mt19937_64& random, size_t count) {
  TokenSet allowed(static_cast<int64_t>(random() % 3 == 0 ? count / 2 + 1 : count));
  const uint64_t one_of = std::array{1, 2, 50}[random() % 3];
  for (TokenId id = 0; id < allowed.vocab_size(); ++id) {
    if (random() % one_of == 0) allowed.insert(id);
  }
  allowed.insert(static_cast<TokenId>(random() % (count / 2 + 1)));
  return allowed;
}

}  // namespace tetrad
