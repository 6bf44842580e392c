#pragma once

#include "api/chat_request.h"

namespace tetrad::api {

/// What of a body is needed: a count needs no answer's length.
enum class MessagesUse { generate, count };

/// A POST to Anthropic's /v1/messages or /v1/messages/count_tokens.
///
/// MiniMax-M2 always thinks. Thinking blocks are shown with `thinking.type` "enabled" or
/// "adaptive"; without, they are generated, counted, and left out of the response, for clients that
/// did not ask would not expect them. `budget_tokens` ends the thinking.
///
/// A last message of the assistant is continued, as by Anthropic's API. Blocks of other kinds than
/// text, thinking, tool_use and tool_result are refused by their type.
Result<ChatRequest> parse_messages_request(std::string_view body, MessagesUse use);

}  // namespace tetrad::api
