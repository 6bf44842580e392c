#pragma once

// What the engine is asked and what it answers. Strong types only: JSON never gets this far.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/token_constraint.h"
#include "text/tokenizer.h"

namespace tetrad {

using RequestId = uint64_t;

/// A number added to one token's logit.
struct LogitBias {
  TokenId id = 0;
  float bias = 0;
};

/// The fields of vLLM's SamplingParams, under the same names.
struct SamplingParams {
  float temperature = 1.0f;         // 0: greedy
  int64_t top_k = 0;                // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // 0: off
  float repetition_penalty = 1.0f;  // of tokens in prompt or answer; 1: off
  float frequency_penalty = 0.0f;   // per earlier occurrence in the answer
  float presence_penalty = 0.0f;    // once for tokens that occur in the answer
  std::vector<LogitBias> logit_bias;
  std::vector<TokenId> allowed_token_ids;       // empty: all
  std::vector<std::vector<TokenId>> bad_words;  // token sequences that must not come to stand
  /// Without a seed the engine draws one; with one, a request gives the same tokens every time.
  std::optional<uint64_t> seed;
  int64_t max_tokens = 0;                   // 0: as many as fit behind the prompt
  int64_t min_tokens = 0;                   // no end token and no stop before so many
  std::vector<std::string> stop;            // the text ends before the first of them
  bool include_stop_str_in_output = false;  // or behind it
  std::vector<TokenId> stop_token_ids;      // besides the model's end tokens
  bool ignore_eos = false;
  bool skip_special_tokens = true;
  /// Log probabilities of each generated token, and of so many likeliest ones beside it.
  std::optional<int64_t> logprobs;
  /// The same for each prompt token but the first. Such a request reads no prefix from the cache.
  std::optional<int64_t> prompt_logprobs;
};

struct GenerationRequest {
  std::vector<TokenId> prompt_ids;
  SamplingParams sampling;
  /// Served before requests of a larger number, and after equals that came before (vLLM's order).
  int64_t priority = 0;
  /// Prefixes are shared among requests of the same salt only.
  std::string cache_salt;
  /// What the answer's tokens must keep to; null: nothing.
  std::shared_ptr<const TokenConstraint> constraint;
};

enum class FinishReason { stop, length, cancelled, error };

/// "stop", "length", …: the spelling of the OpenAI API.
const char* finish_reason_name(FinishReason reason);

struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0;  // natural, of the unmodified logits: before temperature, penalties and bias
};

/// What the model thought at one position.
struct TokenLogprobs {
  TokenLogprob token;             // the one that stands there
  int64_t rank = 1;               // 1: none is likelier
  std::vector<TokenLogprob> top;  // the likeliest, best first, lower ids first of equals
};

/// Bytes of a text, from `begin` to before `end`.
struct TextSpan {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const TextSpan&) const = default;
};

/// One step's news of one request. The last event has a finish_reason, and none follows it.
struct GenerationEvent {
  std::vector<TokenId> token_ids;  // new since the last event, an end token included
  std::string text;                // text that became certain, stop strings cut off
  /// Of `text`: what an added token says, such as </think>, which the same characters by ordinary
  /// tokens do not.
  std::vector<TextSpan> tags;
  std::vector<TokenLogprobs> logprobs;  // of token_ids, if asked for
  /// With the first event, if asked for: of the prompt tokens 1, 2, …
  std::vector<TokenLogprobs> prompt_logprobs;
  /// With the first event: prompt tokens whose keys and values were in the cache already.
  int64_t num_cached_tokens = 0;
  std::optional<FinishReason> finish_reason;
  /// The stop string that ended the generation, if one did.
  std::optional<std::string> stop_reason;
  /// Set with FinishReason::error.
  std::optional<Error> error;
};

/// Receives the events of one request, on the engine's thread: it must hand over and return.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_event(GenerationEvent event) = 0;
};

}  // namespace tetrad
