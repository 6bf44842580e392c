#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/request.h"

namespace tetrad {

/// `value` as a float; what a float cannot hold becomes the largest or smallest there is, so that
/// infinity keeps its meaning of a token that is ruled out.
float finite_float(double value);

/// The three penalties on tokens that have occurred, as vLLM defines them.
class Penalties {
 public:
  static bool asked_for(const SamplingParams& params);

  /// A token of `tokens` (prompt and answer) has its logit divided by repetition_penalty if it is
  /// positive and multiplied by it otherwise. Then one of the answer loses frequency_penalty for
  /// each time it occurs there, and presence_penalty once.
  void apply(std::span<float> logits, const SamplingParams& params, std::span<const TokenId> tokens,
             int64_t num_prompt_tokens);

 private:
  void apply_repetition(std::span<float> logits, double penalty, std::span<const TokenId> tokens);
  void apply_occurrence(std::span<float> logits, const SamplingParams& params,
                        std::span<const TokenId> answer);

  std::vector<int32_t> counts_;  // for each id of the vocabulary; all 0 between calls
};

}  // namespace tetrad
