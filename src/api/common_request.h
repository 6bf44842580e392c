#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/sampling_request.h"
#include "api/structured_output.h"
#include "api/unsupported_fields.h"

namespace tetrad::api {

/// What the requests of all dialects have in common.
struct CommonRequest {
  std::optional<std::string> model;
  SamplingRequest sampling;
  StructuredOutput output;
  int64_t num_answers = 1;  // "n"
  int64_t priority = 0;
  std::string cache_salt;  // "": none
  std::string request_id;  // the client's name for the request; "": none
  /// Only the last so many tokens of the prompt count; -1: as many as fit.
  std::optional<int64_t> truncate_prompt_tokens;
  bool stream = false;
  /// Only of a stream: one more chunk with the usage before its end.
  bool include_usage = false;
  bool continuous_usage = false;  // and the usage so far with every chunk
  bool return_token_ids = false;
  /// Fields that neither the dialect's API nor vLLM has; ignored, as vLLM does.
  std::vector<std::string> unknown_fields;
  /// Fields that are understood and change nothing here.
  std::vector<std::string> fields_without_effect;
};

/// The body of a POST as an object. Errors are of the client's making: ErrorCode::invalid_argument.
Result<json::object> parse_body(std::string_view body);

/// Reads the common fields of OpenAI's chats and completions and refuses those not implemented.
/// `unknown_fields` is left to the caller, who fills it from `fields` when it has read its own.
Result<CommonRequest> read_common(FieldReader& fields, Dialect dialect);

/// vLLM's fields that every dialect takes besides its own: priority, cache_salt, request_id,
/// truncate_prompt_tokens.
Result<void> read_serving_fields(FieldReader& fields, CommonRequest& request);

}  // namespace tetrad::api
