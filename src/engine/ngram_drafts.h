#pragma once

// Speculation without a second model: an answer often repeats what the context said before (code
// that is edited, quoted tool results). The tokens that followed the last time are tried as a
// draft; one step computes all of them, and those that the model would have chosen itself are kept.
// (Prompt lookup decoding; vLLM's "ngram" method.)

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

namespace tetrad {

struct NgramOptions {
  int64_t num_speculative_tokens = 0;  // at most so many a step; 0: off
  int64_t prompt_lookup_min = 2;       // tokens that must repeat, at least
  int64_t prompt_lookup_max = 5;       // and at most
};

/// Reads vLLM's --speculative-config, {"method": "ngram", "num_speculative_tokens": 5,
/// "prompt_lookup_max": 5, "prompt_lookup_min": 2}. Errors name the field.
Result<NgramOptions> parse_speculative_config(std::string_view json);

/// What followed the latest earlier occurrence of the last prompt_lookup_max tokens, or of fewer
/// down to prompt_lookup_min: at most `limit` tokens, none if nothing repeats.
std::vector<TokenId> propose_ngram(std::span<const TokenId> tokens, const NgramOptions& options,
                                   int64_t limit);

/// Whether drafting pays for one sequence. A rejected draft token costs a row of the batch and the
/// experts it visits, so where too few are accepted drafting pauses for a while and is tried again.
class DraftGovernor {
 public:
  bool wants_drafts() const { return pause_ == 0; }
  /// One step went by without a draft.
  void skipped() { pause_ -= pause_ > 0 ? 1 : 0; }
  /// Of `proposed` tokens the first `accepted` were right.
  void verified(int64_t proposed, int64_t accepted);

 private:
  static constexpr double kMinAcceptance = 0.3;
  static constexpr double kMemory = 32;  // tokens after which the past has faded
  static constexpr int64_t kPause = 64;  // steps

  double proposed_ = 0;
  double accepted_ = 0;
  int64_t pause_ = 0;
};

}  // namespace tetrad
