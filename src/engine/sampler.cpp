#include "engine/sampler.h"

#include <algorithm>
#include <cmath>

namespace tetrad {
namespace {

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

}  // namespace

double uniform_at(uint64_t seed, uint64_t index) {
  const uint64_t bits = mix(mix(seed) + (index + 1) * 0x9E3779B97F4A7C15ull);
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

TokenLogprobs token_logprobs(std::span<const float>, TokenId token, int64_t) {
  return {.token = {.id = token}};  // replaced by the sampler's own branch
}

Result<SampledToken> Sampler::sample(std::span<const float> logits, const SamplingParams& params,
                                     std::span<const TokenId> tokens, int64_t num_prompt_tokens) {
  const uint64_t index = tokens.size() - static_cast<size_t>(num_prompt_tokens);
  TokenId best = 0;
  bool finite = true;
  for (size_t i = 0; i < logits.size(); ++i) {
    finite = finite && std::isfinite(logits[i]);
    if (logits[i] > logits[static_cast<size_t>(best)]) best = static_cast<TokenId>(i);
  }
  if (!finite) {
    return fail(
        ErrorCode::corrupt_data,
        "the model computed logits that are not numbers; the checkpoint is damaged or wrong");
  }
  if (params.temperature == 0.0f) return SampledToken{.id = best};

  candidates_.clear();
  const float best_logit = logits[static_cast<size_t>(best)];
  // p >= min_p * p_best, said in logits; holds whatever the normalisation.
  const double lowest = params.min_p > 0.0f
                            ? best_logit + std::log(params.min_p) * params.temperature
                            : -std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= lowest) candidates_.push_back({logits[i], static_cast<TokenId>(i)});
  }
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const auto top_k = static_cast<size_t>(std::max<int64_t>(params.top_k, 0));
  if (top_k > 0 && top_k < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + params.top_k, candidates_.end(),
                     likelier);
    candidates_.resize(top_k);
  }
  std::sort(candidates_.begin(), candidates_.end(), likelier);

  weights_.clear();
  double total = 0;
  for (const Candidate& candidate : candidates_) {
    const double offset = (candidate.logit - best_logit) / params.temperature;
    weights_.push_back(std::exp(offset));
    total += weights_.back();
  }
  if (params.top_p < 1.0f) {
    double kept = 0;
    size_t count = 0;
    while (count < weights_.size() && (count == 0 || kept < params.top_p * total)) {
      kept += weights_[count++];
    }
    weights_.resize(count);
    total = kept;
  }
  double left = uniform_at(params.seed.value_or(0), index) * total;
  size_t chosen = 0;
  while (chosen + 1 < weights_.size() && left >= weights_[chosen])
    left -= weights_[chosen++];
  return SampledToken{.id = candidates_[chosen].id};
}

}  // namespace tetrad
