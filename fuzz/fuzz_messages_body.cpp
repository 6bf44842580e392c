// The body of a request to Anthropic's Messages API, as the API reads it.

#include <cstdint>
#include <string_view>

#include "api/messages_request.h"
#include "body_checks.h"
#include "chat/conversation.h"

using namespace tetrad;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto request = api::parse_messages_request(body, api::MessagesUse::generate);
  const auto count = api::parse_messages_request(body, api::MessagesUse::count);
  if (!request) {
    check_error(request.error(), api::ErrorForm::anthropic);
    require(!count || request.error().param == "max_tokens");
    return 0;
  }
  require(count.has_value());
  require(!request->input.messages.empty());
  require(request->common.sampling.max_tokens.value_or(0) >= 1);
  require((request->tools != nullptr) == !request->input.tools.empty());
  require(!request->tool_choice.forces_call() || request->tools != nullptr);
  // The conversion leaves nothing to complain about.
  const auto messages = normalise_messages(request->input.messages);
  require(messages.has_value());
  require(parse_json(to_json_text(*messages)).has_value());
  return 0;
}
