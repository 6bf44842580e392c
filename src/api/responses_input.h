#pragma once

// The items and tools of the Responses API in the form that the chat template knows, which is that
// of chat completions.

#include "api/field_reader.h"
#include "api/tool_fields.h"

namespace tetrad::api {

/// `instructions` and `input`. A reasoning item, the message after it and the calls after that are
/// one message of the assistant. Messages of the system or the developer behind the first others
/// become the user's: the template knows them at the beginning only. Items of other kinds than
/// message, reasoning, function_call and function_call_output are refused by their type.
Result<json::array> read_responses_input(FieldReader& fields);

/// `tools`, `tool_choice` and `parallel_tool_calls`. Tools that are not functions are refused by
/// their type.
Result<RequestTools> read_responses_tools(FieldReader& fields);

}  // namespace tetrad::api
