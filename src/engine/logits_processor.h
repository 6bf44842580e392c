#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/penalties.h"
#include "engine/request.h"

namespace tetrad {

/// What a request does to the logits before a token is chosen: logit_bias, then penalties, then
/// the tokens that must not come now get minus infinity, those its constraint does not allow too.
/// All of it holds for greedy choices too.
class LogitsProcessor {
 public:
  /// `eos_token_ids`: the model's end tokens, which min_tokens keeps away.
  explicit LogitsProcessor(std::vector<TokenId> eos_token_ids)
      : eos_token_ids_(std::move(eos_token_ids)) {}

  /// Whether anything is asked of the logits, beside what a constraint allows, before the token
  /// that `num_generated` others came before.
  static bool is_asked(const SamplingParams& params, int64_t num_generated);

  /// `logits` themselves where nothing is asked of them: a vocabulary is not copied for nothing.
  /// Valid until the next call. `tokens`: the prompt's and those generated so far. `allowed`: null
  /// for all.
  std::span<const float> process(std::span<const float> logits, const SamplingParams& params,
                                 std::span<const TokenId> tokens, int64_t num_prompt_tokens,
                                 const TokenSet* allowed = nullptr);

 private:
  void rule_out(TokenId id);
  void keep_only(std::span<const TokenId> allowed);
  void keep_only(const TokenSet& allowed);
  void rule_out_bad_words(const SamplingParams& params, std::span<const TokenId> answer);
  void rule_out_end(const SamplingParams& params);

  std::vector<TokenId> eos_token_ids_;
  Penalties penalties_;
  std::vector<float> logits_;
  std::vector<float> kept_;  // the logits of allowed_token_ids
};

}  // namespace tetrad
