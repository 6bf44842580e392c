#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/error.h"

namespace tetrad::api {

/// What a response says about its prompt, which the engine hands over in one event.
struct PromptReport {
  bool stream = false;
  int64_t num_answers = 1;  // each says it
  int64_t num_prompt_tokens = 0;
  size_t echo_bytes = 0;
  std::optional<int64_t> prompt_logprobs;  // so many likeliest beside each token
};

/// Refuses what would become a response of hundreds of megabytes, or an event of a stream that
/// alone is more than the backlog a client may have.
Result<void> check_prompt_report(const PromptReport& report);

}  // namespace tetrad::api
