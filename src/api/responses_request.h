#pragma once

#include "api/chat_request.h"

namespace tetrad::api {

/// A POST to /v1/responses. Nothing is kept of it: `store` is answered with false, and what needs
/// an earlier response is refused.
struct ResponsesRequest {
  ChatRequest chat;
  /// Fields of the request as the response repeats them, with the API's defaults where the request
  /// has none: instructions, metadata, parallel_tool_calls, tool_choice, tools, text, truncation,
  /// reasoning, max_output_tokens, …
  json::object echo;
};

Result<ResponsesRequest> parse_responses_request(std::string_view body);

}  // namespace tetrad::api
