#pragma once

#include "api/common_request.h"
#include "chat/conversation.h"

namespace tetrad::api {

/// A POST to /v1/chat/completions, checked field by field. Messages are checked further when they
/// are rendered.
struct ChatRequest {
  CommonRequest common;
  ChatInput input;
  /// False: the reasoning is generated but left out of the response.
  bool include_reasoning = true;
};

Result<ChatRequest> parse_chat_request(std::string_view body);

}  // namespace tetrad::api
