#include "api/common_request.h"

#include <algorithm>
#include <limits>

namespace tetrad::api {
namespace {

constexpr int64_t kMaxAnswers = 16;
constexpr int64_t kMinPriority = std::numeric_limits<int32_t>::min();
constexpr int64_t kMaxPriority = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxSaltBytes = 1024;  // vLLM's
constexpr size_t kMaxRequestIdBytes = 128;

Result<std::string> read_cache_salt(FieldReader& fields) {
  TETRAD_ASSIGN(std::optional<std::string> salt, fields.string("cache_salt"));
  if (!salt) return std::string();
  if (salt->empty() || salt->size() > kMaxSaltBytes) {
    return fail_param("cache_salt", "\"cache_salt\" must be 1 to {} bytes long, this one has {}",
                      kMaxSaltBytes, salt->size());
  }
  return std::move(*salt);
}

/// It comes back in a header, which not every character may.
Result<std::string> read_request_id(FieldReader& fields) {
  TETRAD_ASSIGN(std::optional<std::string> id, fields.string("request_id"));
  if (!id) return std::string();
  const auto is_plain = [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '_' || c == '.' || c == ':';
  };
  if (id->empty() || id->size() > kMaxRequestIdBytes || !std::ranges::all_of(*id, is_plain)) {
    return fail_param("request_id",
                      "\"request_id\" must be 1 to {} letters, digits, or characters of \"-_.:\"",
                      kMaxRequestIdBytes);
  }
  return std::move(*id);
}

Result<void> read_stream_options(FieldReader& fields, CommonRequest& request) {
  TETRAD_ASSIGN(const json::object* options, fields.object("stream_options"));
  if (options == nullptr) return {};
  if (!request.stream) {
    return fail_param("stream_options", "\"stream_options\" is only allowed with \"stream\": true");
  }
  FieldReader option_fields(*options, "stream_options.");
  TETRAD_ASSIGN(const std::optional<bool> include_usage, option_fields.boolean("include_usage"));
  request.include_usage = include_usage.value_or(false);
  TETRAD_ASSIGN(const std::optional<bool> continuous,
                option_fields.boolean("continuous_usage_stats"));
  if (continuous.value_or(false) && !request.include_usage) {
    return fail_param("stream_options.continuous_usage_stats",
                      "\"stream_options.continuous_usage_stats\" needs \"include_usage\": true");
  }
  request.continuous_usage = continuous.value_or(false);
  // Random padding of events against traffic analysis: not done here, nothing to switch off.
  TETRAD_TRY(option_fields.boolean("include_obfuscation"));
  request.unknown_fields = option_fields.unread();
  return {};
}

}  // namespace

Result<json::object> parse_body(std::string_view body) {
  Result<json::value> value = parse_json(body);
  if (!value) {
    Error error = std::move(value.error());
    error.code = ErrorCode::invalid_argument;
    error.message = "the request body is " + error.message;
    return tl::unexpected(std::move(error));
  }
  if (!value->is_object()) {
    return fail(ErrorCode::invalid_argument, "the request body must be a JSON object, not {}",
                json_kind_name(*value));
  }
  return std::move(value->get_object());
}

Result<void> read_serving_fields(FieldReader& fields, CommonRequest& request) {
  TETRAD_ASSIGN(const std::optional<int64_t> priority,
                fields.integer("priority", kMinPriority, kMaxPriority));
  request.priority = priority.value_or(0);
  TETRAD_ASSIGN(request.cache_salt, read_cache_salt(fields));
  TETRAD_ASSIGN(request.request_id, read_request_id(fields));
  TETRAD_ASSIGN(request.truncate_prompt_tokens,
                fields.integer("truncate_prompt_tokens", -1, std::numeric_limits<int64_t>::max()));
  if (request.truncate_prompt_tokens == 0) {
    return fail_param("truncate_prompt_tokens",
                      "\"truncate_prompt_tokens\" must be at least 1, or -1 for as many as fit");
  }
  return {};
}

Result<CommonRequest> read_common(FieldReader& fields, Dialect dialect) {
  CommonRequest request;
  TETRAD_ASSIGN(request.fields_without_effect, check_unsupported_fields(fields, dialect));
  TETRAD_ASSIGN(request.model, fields.string("model"));
  TETRAD_ASSIGN(request.sampling, read_sampling(fields, dialect));
  TETRAD_ASSIGN(request.output, read_structured_output(fields));
  TETRAD_ASSIGN(const std::optional<int64_t> num_answers, fields.integer("n", 1, kMaxAnswers));
  request.num_answers = num_answers.value_or(1);
  TETRAD_TRY(read_serving_fields(fields, request));
  TETRAD_ASSIGN(const std::optional<bool> token_ids, fields.boolean("return_token_ids"));
  request.return_token_ids = token_ids.value_or(false);
  TETRAD_ASSIGN(const std::optional<bool> stream, fields.boolean("stream"));
  request.stream = stream.value_or(false);
  if (request.stream && request.sampling.prompt_logprobs) {
    return fail_param("prompt_logprobs",
                      "\"prompt_logprobs\" is not available with \"stream\": true");
  }
  TETRAD_TRY(read_stream_options(fields, request));
  return request;
}

}  // namespace tetrad::api
