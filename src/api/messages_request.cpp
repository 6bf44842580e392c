#include "api/messages_request.h"

#include <array>
#include <limits>
#include <utility>

#include "api/messages_input.h"

namespace tetrad::api {
namespace {

constexpr int64_t kMostTokens = std::numeric_limits<int64_t>::max();

Result<void> read_lengths(FieldReader& fields, MessagesUse use, SamplingRequest& sampling) {
  TETRAD_ASSIGN(sampling.max_tokens, fields.integer("max_tokens", 1, kMostTokens));
  if (!sampling.max_tokens && use == MessagesUse::generate) {
    return fail_param("max_tokens", "\"max_tokens\" is missing");
  }
  TETRAD_ASSIGN(sampling.stop, read_stop(fields, "stop_sequences"));
  return {};
}

Result<SamplingRequest> read_messages_sampling(FieldReader& fields, MessagesUse use) {
  SamplingRequest sampling;
  TETRAD_TRY(read_lengths(fields, use, sampling));
  TETRAD_ASSIGN(sampling.temperature, fields.number("temperature", {.min = 0, .max = 1}));
  TETRAD_ASSIGN(sampling.top_p, fields.number("top_p", {.min = 0, .max = 1, .above_min = true}));
  TETRAD_ASSIGN(sampling.top_k, fields.integer("top_k", -1, kMostTokens));
  // vLLM's additions: without them no test of a client can be repeated.
  TETRAD_ASSIGN(sampling.seed, fields.integer("seed", std::numeric_limits<int64_t>::min(),
                                              std::numeric_limits<int64_t>::max()));
  return sampling;
}

Result<void> read_thinking(FieldReader& fields, ChatRequest& request) {
  request.include_reasoning = false;
  TETRAD_ASSIGN(const json::object* thinking, fields.object("thinking"));
  if (thinking == nullptr) return {};
  FieldReader members(*thinking, "thinking.");
  TETRAD_ASSIGN(const std::optional<std::string> type, members.string("type"));
  if (type != "enabled" && type != "adaptive" && type != "disabled") {
    return fail_param("thinking.type",
                      "\"thinking.type\" must be \"enabled\", \"adaptive\" or \"disabled\"");
  }
  TETRAD_ASSIGN(const std::optional<int64_t> budget,
                members.integer("budget_tokens", 1, kMostTokens));
  if (type == "enabled" && !budget) {
    return fail_param("thinking.budget_tokens", "\"thinking.budget_tokens\" is missing");
  }
  if (type == "enabled") request.thinking_token_budget = budget;
  TETRAD_ASSIGN(const std::optional<std::string> display, members.string("display"));
  if (display && display != "summarized" && display != "omitted") {
    return fail_param("thinking.display",
                      "\"thinking.display\" must be \"summarized\" or \"omitted\"");
  }
  request.include_reasoning = type != "disabled" && display != "omitted";
  for (std::string& name : members.unread())
    request.common.unknown_fields.push_back(std::move(name));
  return {};
}

Result<void> read_output_config(FieldReader& fields, ChatRequest& request) {
  TETRAD_ASSIGN(const json::object* config, fields.object("output_config"));
  if (config == nullptr) return {};
  FieldReader members(*config, "output_config.");
  TETRAD_ASSIGN(const json::object* format, members.object("format"));
  if (format != nullptr) {
    TETRAD_ASSIGN(request.common.output, read_flat_format(*format, "output_config.format"));
  }
  TETRAD_ASSIGN(const std::optional<std::string> effort, members.string("effort"));
  if (effort) TETRAD_TRY(set_reasoning_effort(request, *effort, "output_config.effort"));
  for (std::string& name : members.unread())
    request.common.unknown_fields.push_back(std::move(name));
  return {};
}

/// A last message of the assistant is the beginning of the answer.
Result<void> read_prefill(ChatRequest& request) {
  const json::object& last = request.input.messages.back().get_object();
  if (last.at("role") != "assistant") return {};
  if (last.contains("tool_calls")) {
    return fail_param(
        "messages", "\"messages\" ends with a \"tool_use\" block that no \"tool_result\" answers");
  }
  request.continue_final_message = true;
  request.input.add_generation_prompt = false;
  return {};
}

}  // namespace

Result<ChatRequest> parse_messages_request(std::string_view body, MessagesUse use) {
  TETRAD_ASSIGN(const json::object object, parse_body(body));
  FieldReader fields(object);
  ChatRequest request;
  TETRAD_ASSIGN(request.common.fields_without_effect,
                check_unsupported_fields(fields, Dialect::messages));
  TETRAD_ASSIGN(request.common.model, fields.string("model"));
  TETRAD_ASSIGN(request.common.sampling, read_messages_sampling(fields, use));
  TETRAD_ASSIGN(request.input.messages, read_messages_input(fields));
  TETRAD_TRY(read_prefill(request));
  TETRAD_ASSIGN(RequestTools tools, read_messages_tools(fields));
  set_tools(request, std::move(tools));
  TETRAD_TRY(read_thinking(fields, request));
  TETRAD_TRY(read_output_config(fields, request));
  TETRAD_TRY(read_serving_fields(fields, request.common));
  TETRAD_ASSIGN(const std::optional<bool> stream, fields.boolean("stream"));
  request.common.stream = stream.value_or(false);
  for (std::string& name : fields.unread())
    request.common.unknown_fields.push_back(std::move(name));
  return request;
}

}  // namespace tetrad::api
