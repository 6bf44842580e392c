#pragma once

#include <cstdint>
#include <span>

#include "base/error.h"
#include "engine/request.h"

namespace tetrad {

struct SampledToken {
  TokenId id = 0;
  std::optional<TokenLogprobs> logprobs;  // if the parameters ask for them
};

/// Chooses tokens from logits. Stateless in effect: the choice depends on the logits, the
/// parameters, the seed and the token's index alone, never on what else is in the batch.
class Sampler {
 public:
  /// The id with the largest logit (the lowest id of equals) at temperature 0. Otherwise: logits
  /// over temperature, the top_k largest, those with at least min_p times the best's probability,
  /// of these the smallest set that holds top_p of the probability, and one of them by the random
  /// number that belongs to (seed, index). Errors: logits that are not numbers.
  /// `tokens`: the prompt's and those generated so far; the draw's index is their number.
  /// params.seed is set.
  Result<SampledToken> sample(std::span<const float> logits, const SamplingParams& params,
                              std::span<const TokenId> tokens, int64_t num_prompt_tokens);

 private:
  struct Candidate {
    float logit;
    TokenId id;
  };
  std::vector<Candidate> candidates_;  // kept for its memory: a vocabulary is large
  std::vector<double> weights_;
};

/// Of the unmodified logits; `num_top`: so many of the likeliest beside it.
TokenLogprobs token_logprobs(std::span<const float> logits, TokenId token, int64_t num_top);

/// A uniform number in [0, 1) that belongs to (seed, index): SplitMix64's output function over a
/// counter, so that token 1,000 needs no earlier draws.
double uniform_at(uint64_t seed, uint64_t index);

}  // namespace tetrad
