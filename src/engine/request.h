#pragma once

// What the engine is asked and what it answers. Strong types only: JSON never gets this far.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

namespace tetrad {

using RequestId = uint64_t;

struct SamplingParams {
  float temperature = 1.0f;  // 0: greedy
  int64_t top_k = 0;         // 0: off
  float top_p = 1.0f;        // 1: off
  float min_p = 0.0f;        // 0: off
  /// Without a seed the engine draws one; with one, a request gives the same tokens every time.
  std::optional<uint64_t> seed;
  int64_t max_tokens = 0;               // 0: as many as fit behind the prompt
  std::vector<std::string> stop;        // never part of the text
  std::vector<TokenId> stop_token_ids;  // besides the model's end tokens
  bool ignore_eos = false;
  bool skip_special_tokens = true;
};

struct GenerationRequest {
  std::vector<TokenId> prompt_ids;
  SamplingParams sampling;
};

enum class FinishReason { stop, length, cancelled, error };

/// "stop", "length", …: the spelling of the OpenAI API.
const char* finish_reason_name(FinishReason reason);

/// One step's news of one request. The last event has a finish_reason, and none follows it.
struct GenerationEvent {
  std::vector<TokenId> token_ids;  // new since the last event, an end token included
  std::string text;                // text that became certain, stop strings cut off
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
