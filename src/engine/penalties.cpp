#include "engine/penalties.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace tetrad {

float finite_float(double value) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(value, -kLargest, kLargest));
}

bool Penalties::asked_for(const SamplingParams& params) {
  return params.repetition_penalty != 1.0f || params.frequency_penalty != 0.0f ||
         params.presence_penalty != 0.0f;
}

void Penalties::apply(std::span<float> logits, const SamplingParams& params,
                      std::span<const TokenId> tokens, int64_t num_prompt_tokens) {
  counts_.resize(logits.size());
  if (params.repetition_penalty != 1.0f) {
    apply_repetition(logits, params.repetition_penalty, tokens);
  }
  if (params.frequency_penalty != 0.0f || params.presence_penalty != 0.0f) {
    apply_occurrence(logits, params, tokens.subspan(static_cast<size_t>(num_prompt_tokens)));
  }
}

void Penalties::apply_repetition(std::span<float> logits, double penalty,
                                 std::span<const TokenId> tokens) {
  for (const TokenId id : tokens) {
    const auto place = static_cast<size_t>(id);
    if (std::exchange(counts_[place], 1) != 0) continue;
    const double logit = logits[place];
    logits[place] = finite_float(logit > 0 ? logit / penalty : logit * penalty);
  }
  for (const TokenId id : tokens)
    counts_[static_cast<size_t>(id)] = 0;
}

void Penalties::apply_occurrence(std::span<float> logits, const SamplingParams& params,
                                 std::span<const TokenId> answer) {
  for (const TokenId id : answer)
    ++counts_[static_cast<size_t>(id)];
  for (const TokenId id : answer) {
    const auto place = static_cast<size_t>(id);
    const int32_t count = std::exchange(counts_[place], 0);
    if (count == 0) continue;
    const double penalty = double{params.frequency_penalty} * count + params.presence_penalty;
    logits[place] = finite_float(logits[place] - penalty);
  }
}

}  // namespace tetrad
