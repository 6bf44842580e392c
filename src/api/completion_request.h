#pragma once

#include <string>
#include <variant>
#include <vector>

#include "api/common_request.h"

namespace tetrad::api {

/// A POST to /v1/completions.
struct CompletionRequest {
  CommonRequest common;
  using Prompt = std::variant<std::string, std::vector<TokenId>>;
  /// At least one. Each gets "n" answers; those of the first prompt come first.
  std::vector<Prompt> prompts;
  bool echo = false;  // the prompt is the beginning of the answer's text
  /// "max_tokens": 0: the answer is the echo alone. The engine generates no fewer than one token,
  /// which max_tokens says then.
  bool only_echo = false;
};

Result<CompletionRequest> parse_completion_request(std::string_view body);

}  // namespace tetrad::api
