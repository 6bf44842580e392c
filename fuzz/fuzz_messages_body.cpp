// The body of a request to Anthropic's Messages API, as the API reads it.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/error_response.h"
#include "api/messages_request.h"
#include "chat/conversation.h"

namespace {

using namespace tetrad;

void require(bool condition) {
  if (!condition) std::abort();
}

/// Whatever is wrong with a body is the client's fault, and can be told in JSON.
void check_error(const Error& error) {
  require(!error.message.empty());
  const api::JsonResponse response = api::error_response(error, api::ErrorForm::anthropic);
  require(response.status == 400);
  require(parse_json(response.body).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto request = api::parse_messages_request(body, api::MessagesUse::generate);
  const auto count = api::parse_messages_request(body, api::MessagesUse::count);
  if (!request) {
    check_error(request.error());
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
