#include "api/common_request.h"

#include <limits>

namespace tetrad::api {
namespace {

constexpr int64_t kMaxAnswers = 16;
constexpr int64_t kMinPriority = std::numeric_limits<int32_t>::min();
constexpr int64_t kMaxPriority = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxSaltBytes = 256;

Result<std::string> read_cache_salt(FieldReader& fields) {
  TETRAD_ASSIGN(std::optional<std::string> salt, fields.string("cache_salt"));
  if (!salt) return std::string();
  if (salt->empty() || salt->size() > kMaxSaltBytes) {
    return fail_param("cache_salt", "\"cache_salt\" must be 1 to {} bytes long, this one has {}",
                      kMaxSaltBytes, salt->size());
  }
  return std::move(*salt);
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

Result<CommonRequest> read_common(FieldReader& fields, Dialect dialect) {
  CommonRequest request;
  TETRAD_TRY(check_unsupported_fields(fields, dialect));
  TETRAD_ASSIGN(request.model, fields.string("model"));
  TETRAD_ASSIGN(request.sampling, read_sampling(fields, dialect));
  TETRAD_ASSIGN(const std::optional<int64_t> num_answers, fields.integer("n", 1, kMaxAnswers));
  request.num_answers = num_answers.value_or(1);
  TETRAD_ASSIGN(const std::optional<int64_t> priority,
                fields.integer("priority", kMinPriority, kMaxPriority));
  request.priority = priority.value_or(0);
  TETRAD_ASSIGN(request.cache_salt, read_cache_salt(fields));
  TETRAD_ASSIGN(const std::optional<bool> stream, fields.boolean("stream"));
  request.stream = stream.value_or(false);
  if (request.stream && request.sampling.prompt_logprobs) {
    return fail_param("prompt_logprobs",
                      "\"prompt_logprobs\" is not available with \"stream\": true");
  }
  TETRAD_ASSIGN(const json::object* options, fields.object("stream_options"));
  if (options == nullptr) return request;
  if (!request.stream) {
    return fail_param("stream_options", "\"stream_options\" is only allowed with \"stream\": true");
  }
  FieldReader option_fields(*options, "stream_options.");
  TETRAD_ASSIGN(const std::optional<bool> include_usage, option_fields.boolean("include_usage"));
  request.include_usage = include_usage.value_or(false);
  // Random padding of events against traffic analysis: not done here, nothing to switch off.
  TETRAD_TRY(option_fields.boolean("include_obfuscation"));
  request.unknown_fields = option_fields.unread();
  return request;
}

}  // namespace tetrad::api
