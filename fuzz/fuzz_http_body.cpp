// The body of a request, as the API reads it. The first byte chooses the endpoint.

#include <cmath>
#include <cstdint>
#include <string_view>

#include "api/chat_request.h"
#include "api/completion_request.h"
#include "body_checks.h"
#include "chat/conversation.h"

namespace {

using namespace tetrad;

void check_sampling(const SamplingParams& params) {
  require(params.temperature >= 0 && params.temperature <= 2);
  require(params.top_p >= 0 && params.top_p <= 1);
  require(params.top_k >= 0 && params.max_tokens >= 0 && params.min_tokens >= 0);
  require(params.repetition_penalty >= 0 && params.repetition_penalty <= 100);
  require(std::abs(params.frequency_penalty) <= 2 && std::abs(params.presence_penalty) <= 2);
  require(params.logprobs.value_or(0) <= 20 && params.prompt_logprobs.value_or(0) <= 20);
  for (const auto& [id, bias] : params.logit_bias)
    require(id >= 0 && std::abs(bias) <= 100);
  for (const TokenId id : params.allowed_token_ids)
    require(id >= 0);
}

void check_common(const api::CommonRequest& request) {
  check_sampling(api::resolve(request.sampling, {}));
  require(request.num_answers >= 1 && request.num_answers <= 16);
  require(!(request.stream && request.sampling.prompt_logprobs));
  require(request.cache_salt.size() <= 256);
  for (const std::string& word : request.sampling.bad_words)
    require(!word.empty());
}

void chat(std::string_view body) {
  const auto request = api::parse_chat_request(body);
  if (!request) return check_error(request.error());
  check_common(request->common);
  require(!request->input.messages.empty());
  const auto messages = normalise_messages(request->input.messages);
  if (!messages) return check_error(messages.error());
  require(parse_json(to_json_text(*messages)).has_value());
}

void complete(std::string_view body) {
  const auto request = api::parse_completion_request(body);
  if (!request) return check_error(request.error());
  check_common(request->common);
  require(request->echo || !request->only_echo);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'c') {
    complete(body);
  } else {
    chat(body);
  }
  return 0;
}
