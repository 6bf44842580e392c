#pragma once

// Anthropic's messages and tools in the form that the chat template knows, which is OpenAI's.

#include "api/field_reader.h"
#include "api/tool_fields.h"

namespace tetrad::api {

/// `system` and `messages`. A block that reports a failure (`is_error`) says so in its text.
/// Redacted thinking, which this server never writes and nobody here can read, is left out.
Result<json::array> read_messages_input(FieldReader& fields);

/// `tools` and `tool_choice`. Tools that run on Anthropic's servers are refused by their type.
Result<RequestTools> read_messages_tools(FieldReader& fields);

}  // namespace tetrad::api
