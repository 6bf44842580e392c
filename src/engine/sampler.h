#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "engine/logit_scan.h"
#include "engine/logits_processor.h"
#include "engine/request.h"
#include "model/step_logits.h"

namespace tetrad {

struct SampledToken {
  TokenId id = 0;
  std::optional<TokenLogprobs> logprobs;  // if the parameters ask for them
};

/// Chooses tokens from logits. Stateless in effect: the choice depends on the logits, the
/// parameters, the seed and the sequence's own tokens alone, never on what else is in the batch.
class Sampler {
 public:
  /// `eos_token_ids`: the model's end tokens; none of them comes before min_tokens.
  explicit Sampler(std::vector<TokenId> eos_token_ids = {})
      : processor_(std::move(eos_token_ids)) {}

  /// First what LogitsProcessor does. Then at temperature 0 the id with the largest logit (the
  /// lowest id of equals). Otherwise: logits over temperature, the top_k largest, those with at
  /// least min_p times the best's probability, of these the smallest set that holds top_p of the
  /// probability, and one of them by the random number that belongs to (seed, index), which goes
  /// over them from the likeliest on.
  /// Log probabilities are those of `logits` as they came.
  ///
  /// `tokens`: the prompt's and those generated so far; the draw's index is the number of the
  /// latter. The request is one that check_request() let pass, with its seed set. `allowed`: the
  /// tokens among which to choose, besides what the parameters say; null: all. Errors: logits that
  /// are not numbers, parameters that rule every token out.
  Result<SampledToken> sample(std::span<const float> logits, const SamplingParams& params,
                              std::span<const TokenId> tokens, int64_t num_prompt_tokens,
                              const TokenSet* allowed = nullptr);

  /// The same token from what is known of a row, which was made as use_of() asks; nothing where
  /// only the row itself can say.
  Result<std::optional<SampledToken>> sample(const RowSummary& row, const SamplingParams& params,
                                             std::span<const TokenId> tokens,
                                             int64_t num_prompt_tokens,
                                             const TokenSet* allowed = nullptr);
  /// What will be asked of the row that chooses the token that `num_generated` others came before.
  static LogitsUse use_of(const SamplingParams& params, bool is_constrained, int64_t num_generated);

 private:
  /// What is asked of a choice at a temperature above 0.
  struct Choice {
    double temperature;
    double top_p;
    double uniform;  // the random number
  };
  static Choice choice_of(const SamplingParams& params, std::span<const TokenId> tokens,
                          int64_t num_prompt_tokens);

  std::optional<TokenId> choose_of_likely(const RowSummary& row, const SamplingParams& params,
                                          const Choice& choice, bool is_restricted);
  TokenId choose(const SamplingParams& params, const Choice& choice);
  TokenId choose_of_all(const Choice& choice);
  TokenId choose_of_candidates(const Choice& choice);

  double weight(float logit, double temperature) const;
  double approximate_weights(double temperature);
  std::optional<TokenId> draw_of_likeliest(const Choice& choice, double total, double tolerance);
  std::optional<double> keep_likeliest(const Choice& choice, double least, double tolerance);
  TokenId draw(double total, double uniform) const;

  LogitsProcessor processor_;
  LogitScan scan_;
  float largest_ = 0;  // of the logits among which is chosen
  // Kept for their memory.
  std::vector<TokenKey> candidates_;
  std::vector<double> weights_;     // of the candidates; the best token's is 1
  std::vector<double> block_sums_;  // of weights, for each block of the scan
};

/// A uniform number in [0, 1) that belongs to (seed, index): SplitMix64's output function over a
/// counter, so that token 1,000 needs no earlier draws.
double uniform_at(uint64_t seed, uint64_t index);

}  // namespace tetrad
