#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/chat_request.h"

namespace tetrad::api {

/// A POST to /tokenize, in vLLM's form: a text, or what would be a chat.
struct TokenizeRequest {
  std::variant<std::string, ChatRequest> prompt;
  std::optional<std::string> model;
  bool return_token_strs = false;
  std::vector<std::string> unknown_fields;
};
Result<TokenizeRequest> parse_tokenize_request(std::string_view body);

/// A POST to /detokenize.
struct DetokenizeRequest {
  std::vector<TokenId> tokens;
  std::optional<std::string> model;
  std::vector<std::string> unknown_fields;
};
Result<DetokenizeRequest> parse_detokenize_request(std::string_view body);

}  // namespace tetrad::api
