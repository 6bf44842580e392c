#include "api/common_request.h"

namespace tetrad::api {

Result<json::object> parse_body(std::string_view body) {
  Result<json::value> value = parse_json(body);
  if (!value) {
    return fail(ErrorCode::invalid_argument, "the request body is {}", value.error().message);
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
  TETRAD_ASSIGN(request.sampling, read_sampling(fields));
  TETRAD_ASSIGN(const std::optional<bool> stream, fields.boolean("stream"));
  request.stream = stream.value_or(false);
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
