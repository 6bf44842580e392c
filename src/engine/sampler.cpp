#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/splitmix.h"
#include "engine/logprobs.h"

namespace tetrad {
namespace {

/// The lowest of the ids with the largest logit.
TokenId best_token(std::span<const float> logits) {
  return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
}

}  // namespace

double uniform_at(uint64_t seed, uint64_t index) {
  return unit_interval(splitmix(splitmix(seed) + (index + 1) * kSplitMixStep));
}

Result<SampledToken> Sampler::sample(std::span<const float> logits, const SamplingParams& params,
                                     std::span<const TokenId> tokens, int64_t num_prompt_tokens,
                                     const TokenSet* allowed) {
  if (!std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); })) {
    return fail(
        ErrorCode::corrupt_data,
        "the model computed logits that are not numbers; the checkpoint is damaged or wrong");
  }
  const auto processed = processor_.process(logits, params, tokens, num_prompt_tokens, allowed);
  SampledToken chosen{.id = best_token(processed)};
  const float best_logit = processed[static_cast<size_t>(chosen.id)];
  if (std::isinf(best_logit)) {
    return fail(ErrorCode::invalid_argument,
                "no token is left to choose: allowed_token_ids, bad_words, min_tokens, "
                "stop_token_ids and the answer's grammar rule all of them out");
  }
  if (params.temperature != 0.0f) {
    collect_candidates(processed, best_logit, params);
    keep_top_k(params.top_k);
    double total = 0;
    for (const Candidate& candidate : candidates_)
      total += candidate.weight;
    if (params.top_p < 1.0f) total = keep_top_p(params.top_p * total);
    const uint64_t index = tokens.size() - static_cast<size_t>(num_prompt_tokens);
    chosen.id = draw(total, uniform_at(params.seed.value_or(0), index));
  }
  if (params.logprobs) chosen.logprobs = token_logprobs(logits, chosen.id, *params.logprobs);
  return chosen;
}

bool Sampler::likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

/// All that min_p leaves, in the order of their ids.
void Sampler::collect_candidates(std::span<const float> logits, float best_logit,
                                 const SamplingParams& params) {
  const double temperature = params.temperature;
  // p >= min_p * p_best, said in logits; holds whatever the normalisation. Without min_p, all that
  // is not ruled out.
  const double lowest = params.min_p > 0.0f
                            ? best_logit + std::log(double{params.min_p}) * temperature
                            : std::numeric_limits<float>::lowest();
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] < lowest) continue;
    const double offset = (double{logits[i]} - best_logit) / temperature;
    candidates_.push_back(
        {.weight = std::exp(offset), .logit = logits[i], .id = static_cast<TokenId>(i)});
  }
}

/// Sorted afterwards, so that sums over the candidates have one order; without top_k they keep
/// that of their ids.
void Sampler::keep_top_k(int64_t top_k) {
  const auto count = static_cast<size_t>(std::max<int64_t>(top_k, 0));
  if (count == 0 || count >= candidates_.size()) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + top_k, candidates_.end(), likelier);
  candidates_.resize(count);
  std::sort(candidates_.begin(), candidates_.end(), likelier);
}

/// Keeps the likeliest that together have `weight` or more, and returns what they have. Sorts no
/// more than it needs: of a vocabulary, a few hundred tokens usually hold all but a trace.
double Sampler::keep_top_p(double weight) {
  double kept = 0;
  size_t sorted = 0;
  while (sorted < candidates_.size()) {
    const size_t begin = sorted;
    sorted = std::min(candidates_.size(), std::max<size_t>(256, 4 * begin));
    const auto at = [this](size_t i) { return candidates_.begin() + static_cast<ptrdiff_t>(i); };
    std::partial_sort(at(begin), at(sorted), candidates_.end(), likelier);
    for (size_t i = begin; i < sorted; ++i) {
      kept += candidates_[i].weight;
      if (kept < weight) continue;
      candidates_.resize(i + 1);
      return kept;
    }
  }
  return kept;
}

TokenId Sampler::draw(double total, double uniform) const {
  double left = uniform * total;
  size_t chosen = 0;
  while (chosen + 1 < candidates_.size() && left >= candidates_[chosen].weight)
    left -= candidates_[chosen++].weight;
  return candidates_[chosen].id;
}

}  // namespace tetrad
