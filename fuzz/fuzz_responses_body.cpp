// The body of a request to the Responses API, as the API reads it.

#include <cstdint>
#include <string_view>

#include "api/responses_request.h"
#include "body_checks.h"
#include "chat/conversation.h"

using namespace tetrad;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto request = api::parse_responses_request(body);
  if (!request) {
    check_error(request.error());
    return 0;
  }
  const api::ChatRequest& chat = request->chat;
  require(!chat.input.messages.empty());
  require((chat.tools != nullptr) == !chat.input.tools.empty());
  require(!chat.tool_choice.forces_call() || chat.tools != nullptr);
  require(request->echo.at("store") == false);
  require(parse_json(to_json_text(request->echo)).has_value());
  // The conversion leaves nothing to complain about.
  const auto messages = normalise_messages(chat.input.messages);
  require(messages.has_value());
  require(parse_json(to_json_text(*messages)).has_value());
  return 0;
}
