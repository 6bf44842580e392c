#pragma once

// Conversations as a coding agent has them with /v1/chat/completions: a system prompt and tools
// that all sessions share, a task, and then turn after turn a longer history, mostly by the results
// of tools. What the server answered goes back to it, content and reasoning, as the API gave it.

#include <memory>

#include "base/error.h"
#include "bench/workload.h"

namespace tetrad::bench {

struct AgentShape {
  int64_t num_turns = 10;     // requests of a session
  int64_t prefix_len = 1000;  // words of project notes in the system prompt
  int64_t result_len = 20;    // words of a tool's result
  int64_t output_len = 64;    // max_tokens of an answer
};

/// Every fifth turn, the first included, brings a message of the user; the others bring results. A
/// call of the server's answer is answered under its own id; where it made none and a result is
/// due, a call with a fixed id is put into its answer. Errors name the flag.
Result<std::unique_ptr<Workload>> make_agent_workload(RequestSettings settings, AgentShape shape);

}  // namespace tetrad::bench
