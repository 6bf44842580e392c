#include "api/responses_request.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "api/responses_input.h"

namespace tetrad::api {
namespace {

constexpr int64_t kMaxInteger = std::numeric_limits<int64_t>::max();

Result<SamplingRequest> read_responses_sampling(FieldReader& fields) {
  SamplingRequest sampling;
  TETRAD_ASSIGN(sampling.temperature, fields.number("temperature", {.min = 0, .max = 2}));
  TETRAD_ASSIGN(sampling.top_p, fields.number("top_p", {.min = 0, .max = 1, .above_min = true}));
  TETRAD_ASSIGN(sampling.max_tokens, fields.integer("max_output_tokens", 1, kMaxInteger));
  // vLLM's additions.
  TETRAD_ASSIGN(sampling.top_k, fields.integer("top_k", -1, kMaxInteger));
  TETRAD_ASSIGN(sampling.seed,
                fields.integer("seed", std::numeric_limits<int64_t>::min(), kMaxInteger));
  TETRAD_ASSIGN(const std::optional<int64_t> top_logprobs, fields.integer("top_logprobs", 0, 20));
  if (top_logprobs.value_or(0) > 0) {
    return unsupported_field("top_logprobs",
                             "\"top_logprobs\" is not supported by this server; "
                             "/v1/chat/completions tells log probabilities");
  }
  return sampling;
}

/// What else the response shall hold. Of calls that this server does not make there is nothing.
Result<void> read_include(FieldReader& fields) {
  constexpr std::array<std::string_view, 7> kNothingToShow = {
      "reasoning.encrypted_content",   "file_search_call.results",
      "web_search_call.results",       "web_search_call.action.sources",
      "code_interpreter_call.outputs", "computer_call_output.output.image_url",
      "message.input_image.image_url"};
  TETRAD_ASSIGN(const json::array* include, fields.array("include"));
  if (include == nullptr) return {};
  for (const json::value& value : *include) {
    if (!value.is_string()) return wrong_kind("include", "an array of strings", value);
    const std::string_view name = value.get_string();
    if (std::ranges::find(kNothingToShow, name) != kNothingToShow.end()) continue;
    return unsupported_field("include", fmt::format("\"include\": {} is not supported by this "
                                                    "server",
                                                    to_json_text(value)));
  }
  return {};
}

Result<void> read_truncation(FieldReader& fields) {
  TETRAD_ASSIGN(const std::optional<std::string> truncation, fields.string("truncation"));
  if (!truncation || *truncation == "disabled") return {};
  if (*truncation == "auto") {
    return unsupported_field(
        "truncation",
        "\"truncation\": \"auto\" is not supported by this server: it does not "
        "choose what to leave out of a conversation");
  }
  return fail_param("truncation", "\"truncation\" must be \"disabled\" or \"auto\"");
}

/// Returns what the response repeats.
Result<json::object> read_text_config(FieldReader& fields, StructuredOutput& output) {
  json::object echo{{"format", json::object{{"type", "text"}}}};
  TETRAD_ASSIGN(const json::object* text, fields.object("text"));
  if (text == nullptr) return echo;
  FieldReader members(*text, "text.");
  TETRAD_ASSIGN(const json::object* format, members.object("format"));
  if (format != nullptr) {
    TETRAD_ASSIGN(output, read_flat_format(*format, "text.format"));
    echo["format"] = *format;
  }
  TETRAD_ASSIGN(const std::optional<std::string> verbosity, members.string("verbosity"));
  if (verbosity && *verbosity != "medium") {
    return unsupported_field("text.verbosity",
                             "\"text.verbosity\" is not supported by this server; say in "
                             "\"instructions\" how long the answer shall be");
  }
  return echo;
}

Result<json::object> read_reasoning(FieldReader& fields, ChatRequest& chat) {
  json::object echo{{"effort", nullptr}, {"summary", nullptr}};
  TETRAD_ASSIGN(const json::object* reasoning, fields.object("reasoning"));
  if (reasoning == nullptr) return echo;
  FieldReader members(*reasoning, "reasoning.");
  TETRAD_ASSIGN(const std::optional<std::string> effort, members.string("effort"));
  if (effort) {
    TETRAD_TRY(set_reasoning_effort(chat, *effort, "reasoning.effort"));
    echo["effort"] = *effort;
  }
  // The thinking itself is in the response; nobody summarises it.
  for (const std::string_view name : {"summary", "generate_summary"}) {
    TETRAD_ASSIGN(const std::optional<std::string> summary, members.string(name));
    if (summary) chat.common.fields_without_effect.push_back(members.full_name(name));
  }
  for (std::string& name : members.unread())
    chat.common.unknown_fields.push_back(std::move(name));
  return echo;
}

Result<void> read_stream(FieldReader& fields, CommonRequest& request) {
  TETRAD_ASSIGN(const std::optional<bool> stream, fields.boolean("stream"));
  request.stream = stream.value_or(false);
  TETRAD_ASSIGN(const json::object* options, fields.object("stream_options"));
  if (options == nullptr) return {};
  FieldReader members(*options, "stream_options.");
  // Random padding of events against traffic analysis: not done here, nothing to switch off.
  TETRAD_TRY(members.boolean("include_obfuscation"));
  for (std::string& name : members.unread())
    request.unknown_fields.push_back(std::move(name));
  return {};
}

/// The value as the request has it, null where it has none.
json::value value_or_null(FieldReader& fields, std::string_view name) {
  const json::value* value = fields.find(name);
  return value != nullptr ? *value : json::value(nullptr);
}

/// What the response repeats of fields that need no reading.
void echo_fields(FieldReader& fields, json::object& echo) {
  for (const char* name :
       {"instructions", "max_output_tokens", "user", "safety_identifier", "prompt_cache_key"}) {
    echo[name] = value_or_null(fields, name);
  }
  const json::value* metadata = fields.find("metadata");
  echo["metadata"] = metadata != nullptr ? *metadata : json::value(json::object());
  const json::value* tools = fields.find("tools");
  echo["tools"] = tools != nullptr ? *tools : json::value(json::array());
  const json::value* choice = fields.find("tool_choice");
  echo["tool_choice"] = choice != nullptr ? *choice : json::value("auto");
  echo["truncation"] = "disabled";
  echo["store"] = false;
  echo["background"] = false;
  echo["previous_response_id"] = nullptr;
  echo["service_tier"] = "default";
  echo["top_logprobs"] = 0;
}

}  // namespace

Result<ResponsesRequest> parse_responses_request(std::string_view body) {
  TETRAD_ASSIGN(const json::object object, parse_body(body));
  FieldReader fields(object);
  ResponsesRequest request;
  ChatRequest& chat = request.chat;
  TETRAD_ASSIGN(chat.common.fields_without_effect,
                check_unsupported_fields(fields, Dialect::responses));
  TETRAD_ASSIGN(chat.common.model, fields.string("model"));
  TETRAD_ASSIGN(chat.common.sampling, read_responses_sampling(fields));
  TETRAD_ASSIGN(chat.input.messages, read_responses_input(fields));
  TETRAD_ASSIGN(RequestTools tools, read_responses_tools(fields));
  set_tools(chat, std::move(tools));
  TETRAD_TRY(read_include(fields));
  TETRAD_TRY(read_truncation(fields));
  TETRAD_TRY(read_stream(fields, chat.common));
  TETRAD_TRY(read_serving_fields(fields, chat.common));
  TETRAD_TRY(fields.object("metadata"));
  TETRAD_ASSIGN(request.echo["text"], read_text_config(fields, chat.common.output));
  TETRAD_ASSIGN(request.echo["reasoning"], read_reasoning(fields, chat));
  echo_fields(fields, request.echo);
  request.echo["parallel_tool_calls"] = chat.parallel_tool_calls;
  for (std::string& name : fields.unread())
    chat.common.unknown_fields.push_back(std::move(name));
  return request;
}

}  // namespace tetrad::api
