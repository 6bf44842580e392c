#pragma once

// Answers in the form of OpenAI's Responses API.

#include <memory>
#include <string>

#include "api/answer_blocks.h"
#include "base/json.h"

namespace tetrad::api {

struct ResponsesHeader {
  std::string id;
  std::string request_id;  // what X-Request-Id says; "": the id
  int64_t created = 0;     // seconds since 1970
  std::string model;
  bool stream = false;
  /// Fields of the request that the response repeats.
  json::object echo;
};

/// Streamed or whole, as the header says.
std::shared_ptr<Responder> responses_responder(ResponsesHeader header, int64_t num_prompt_tokens,
                                               std::shared_ptr<ResponseWriter> writer);

}  // namespace tetrad::api
