#pragma once

#include <optional>
#include <string>

#include "api/sampling_request.h"
#include "api/unsupported_fields.h"

namespace tetrad::api {

/// What chat and completion requests have in common.
struct CommonRequest {
  std::optional<std::string> model;
  SamplingRequest sampling;
  int64_t num_answers = 1;  // "n"
  int64_t priority = 0;
  std::string cache_salt;  // "": none
  bool stream = false;
  /// Only of a stream: one more chunk with the usage before its end.
  bool include_usage = false;
  /// Fields that neither the OpenAI API nor vLLM has; ignored, as vLLM does.
  std::vector<std::string> unknown_fields;
};

/// The body of a POST as an object. Errors are of the client's making: ErrorCode::invalid_argument.
Result<json::object> parse_body(std::string_view body);

/// Reads the common fields and refuses those not implemented. `unknown_fields` is left to the
/// caller, who fills it from `fields` when it has read its own.
Result<CommonRequest> read_common(FieldReader& fields, Dialect dialect);

}  // namespace tetrad::api
