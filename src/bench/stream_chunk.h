#pragma once

// One event of a streamed chat or text completion, as OpenAI and vLLM write it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "bench/workload.h"

namespace tetrad::bench {

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  std::optional<int64_t> cached_tokens;  // not every server says it
};

struct StreamChunk {
  json::object delta;  // of the first choice; a text completion's text stands in "content"
  bool has_choice = false;
  bool is_finish = false;
  std::optional<Usage> usage;

  /// Whether the model's output is in it: content, reasoning or part of a call.
  bool has_output() const;
};

/// Fails on what is not JSON, not an object of this kind, or an error the server reports, whose
/// message becomes the error's.
Result<StreamChunk> parse_stream_chunk(std::string_view data);

/// The message in the body of an error response, in the forms that servers use; else the body's
/// beginning.
std::string error_message(std::string_view body);

/// Adds a chunk to an answer. Fails on a call whose index leaves a gap, or that has no name.
Result<void> append(Answer& answer, const StreamChunk& chunk);

}  // namespace tetrad::bench
