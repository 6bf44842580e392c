#include "api/chat_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace tetrad::api {
namespace {

constexpr size_t kMaxMessages = 4096;
constexpr int64_t kMaxThinkingTokens = 1 << 30;

/// vLLM's two fields for where the prompt ends.
Result<void> read_prompt_end(FieldReader& fields, ChatRequest& request) {
  TETRAD_ASSIGN(const std::optional<bool> continues, fields.boolean("continue_final_message"));
  TETRAD_ASSIGN(const std::optional<bool> generation_prompt,
                fields.boolean("add_generation_prompt"));
  request.continue_final_message = continues.value_or(false);
  request.input.add_generation_prompt = generation_prompt.value_or(!request.continue_final_message);
  if (!request.continue_final_message) return {};
  if (request.input.add_generation_prompt) {
    return fail_param(
        "continue_final_message",
        "\"continue_final_message\" and \"add_generation_prompt\" can't both be true: "
        "an answer is either begun or continued");
  }
  const json::value* role = request.input.messages.back().get_object().if_contains("role");
  if (role == nullptr || *role != "assistant") {
    return fail_param("continue_final_message",
                      "\"continue_final_message\" needs a last message of the role \"assistant\"");
  }
  return {};
}

}  // namespace

Result<void> check_messages(const json::array* messages, std::string_view field) {
  if (messages == nullptr || messages->empty()) {
    return fail_param(field, "\"{}\" must be an array with at least one message", field);
  }
  if (messages->size() > kMaxMessages) {
    return fail_param(field, "\"{}\" may hold at most {} messages, not {}", field, kMaxMessages,
                      messages->size());
  }
  for (size_t i = 0; i < messages->size(); ++i) {
    const json::value& message = (*messages)[i];
    if (!message.is_object()) {
      return wrong_kind(fmt::format("{}[{}]", field, i), "an object", message);
    }
  }
  return {};
}

void set_tools(ChatRequest& request, RequestTools tools) {
  request.input.tools = std::move(tools.for_prompt);
  request.tools = std::move(tools.definitions);
  request.tool_choice = std::move(tools.choice);
  request.parallel_tool_calls = tools.parallel_calls;
}

Result<void> set_reasoning_effort(ChatRequest& request, const std::string& effort,
                                  std::string_view field) {
  constexpr std::array<std::string_view, 6> kEfforts = {"minimal", "low",   "medium",
                                                        "high",    "xhigh", "max"};
  if (effort == "none") {
    return unsupported_field(
        field, fmt::format("\"{}\": this model always thinks, \"none\" is not possible; leave the "
                           "thinking out of the response instead",
                           field));
  }
  if (std::ranges::find(kEfforts, effort) == kEfforts.end()) {
    return fail_param(field, "\"{}\" must be one of {}", field, fmt::join(kEfforts, ", "));
  }
  request.input.template_kwargs.emplace("reasoning_effort", effort);
  request.common.fields_without_effect.emplace_back(field);
  return {};
}

Result<ChatRequest> read_conversation(FieldReader& fields) {
  ChatRequest request;
  TETRAD_ASSIGN(const json::array* messages, fields.array("messages"));
  TETRAD_TRY(check_messages(messages, "messages"));
  request.input.messages = *messages;
  TETRAD_ASSIGN(RequestTools tools, read_chat_tools(fields));
  set_tools(request, std::move(tools));
  TETRAD_TRY(read_prompt_end(fields, request));
  TETRAD_ASSIGN(const json::object* kwargs, fields.object("chat_template_kwargs"));
  if (kwargs != nullptr) request.input.template_kwargs = *kwargs;
  TETRAD_ASSIGN(const std::optional<std::string> effort, fields.string("reasoning_effort"));
  if (effort) TETRAD_TRY(set_reasoning_effort(request, *effort, "reasoning_effort"));
  return request;
}

Result<ChatRequest> parse_chat_request(std::string_view body) {
  TETRAD_ASSIGN(const json::object object, parse_body(body));
  FieldReader fields(object);
  TETRAD_ASSIGN(CommonRequest common, read_common(fields, Dialect::chat));
  TETRAD_ASSIGN(ChatRequest request, read_conversation(fields));
  std::ranges::move(request.common.fields_without_effect,
                    std::back_inserter(common.fields_without_effect));
  request.common = std::move(common);
  TETRAD_ASSIGN(const std::optional<bool> include_reasoning, fields.boolean("include_reasoning"));
  request.include_reasoning = include_reasoning.value_or(true);
  TETRAD_ASSIGN(request.thinking_token_budget,
                fields.integer("thinking_token_budget", 0, kMaxThinkingTokens));
  for (std::string& name : fields.unread())
    request.common.unknown_fields.push_back(std::move(name));
  return request;
}

}  // namespace tetrad::api
