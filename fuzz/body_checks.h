#pragma once

// What holds for the body of any request.

#include <cstdlib>

#include "api/error_response.h"
#include "base/json.h"

namespace tetrad {

inline void require(bool condition) {
  if (!condition) std::abort();
}

/// Whatever is wrong with a body is the client's fault, and can be told in JSON.
inline void check_error(const Error& error, api::ErrorForm form = api::ErrorForm::openai) {
  require(!error.message.empty());
  const api::JsonResponse response = api::error_response(error, form);
  require(response.status == 400);
  require(parse_json(response.body).has_value());
}

}  // namespace tetrad
