#pragma once

#include <string>
#include <variant>
#include <vector>

#include "api/common_request.h"

namespace tetrad::api {

/// A POST to /v1/completions.
struct CompletionRequest {
  CommonRequest common;
  std::variant<std::string, std::vector<TokenId>> prompt;
};

Result<CompletionRequest> parse_completion_request(std::string_view body);

}  // namespace tetrad::api
