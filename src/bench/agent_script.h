#pragma once

// The texts of the agent workload: what does not come from the server.

#include <cstdint>
#include <string>

#include "base/json.h"
#include "bench/random.h"

namespace tetrad::bench {

/// The agent's rules, and `notes_len` words of notes about a project.
std::string agent_system_prompt(Random& random, int64_t notes_len);
/// Five tools in OpenAI's form.
json::array agent_tools();
std::string agent_task(Random& random);
/// A call of one of the tools, as it stands in an assistant's message.
json::object agent_tool_call(Random& random, const std::string& id);
/// What a tool may have said, about `len` words.
std::string agent_tool_result(Random& random, int64_t len);

}  // namespace tetrad::bench
