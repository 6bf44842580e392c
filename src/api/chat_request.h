#pragma once

#include "api/common_request.h"
#include "api/tool_fields.h"
#include "chat/conversation.h"

namespace tetrad::api {

/// A conversation to be answered, checked field by field: what the three chat dialects make of
/// their bodies. Messages are checked further when they are rendered.
struct ChatRequest {
  CommonRequest common;
  ChatInput input;
  ToolDefinitions tools;  // that may be called; null: none
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  /// False: the reasoning is generated but left out of the response. MiniMax-M2 always thinks.
  bool include_reasoning = true;
  /// The answer goes on where the last message, which is the assistant's, ends.
  bool continue_final_message = false;
  std::optional<int64_t> thinking_token_budget;
};

/// A POST to /v1/chat/completions.
Result<ChatRequest> parse_chat_request(std::string_view body);

/// The fields that make the prompt of a chat, which /tokenize takes, too: messages, tools, template
/// variables.
Result<ChatRequest> read_conversation(FieldReader& fields);

/// What is wrong with the number or kind of `messages`.
Result<void> check_messages(const json::array* messages, std::string_view field);

/// Hands a request's tools over to `request`.
void set_tools(ChatRequest& request, RequestTools tools);

/// `effort`: a "reasoning_effort", in whichever field a dialect has it. It is handed to the chat
/// template; MiniMax-M2's does not look at it, which the log says. Refused is "none": the model
/// can't leave the thinking out.
Result<void> set_reasoning_effort(ChatRequest& request, const std::string& effort,
                                  std::string_view field);

}  // namespace tetrad::api
