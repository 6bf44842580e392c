#pragma once

// Single prompts to /v1/completions: random ones, and some with a beginning in common.

#include <memory>
#include <vector>

#include "base/error.h"
#include "bench/workload.h"
#include "text/tokenizer.h"

namespace tetrad::bench {

struct PromptShape {
  /// Tokens with a tokenizer, else words (a word is one token or a few).
  int64_t prefix_len = 0;    // common to all prompts with the same prefix
  int64_t num_prefixes = 1;  // prompt i has prefix i mod num_prefixes
  int64_t input_len = 1024;  // after the prefix
  int64_t output_len = 128;  // max_tokens
  /// input_len and output_len vary by this fraction, evenly: [len·(1-r), len·(1+r)]. Below 1.
  double range_ratio = 0;
};

/// The ids a random prompt may hold: those with bytes that are not special or added tokens.
std::vector<TokenId> ordinary_tokens(const Tokenizer& tokenizer);

/// vocabulary: of ordinary_tokens(); empty for prompts of words. Errors name the flag.
Result<std::unique_ptr<Workload>> make_prompt_workload(RequestSettings settings, PromptShape shape,
                                                       std::vector<TokenId> vocabulary);

}  // namespace tetrad::bench
