#pragma once

#include <string>
#include <string_view>

#include "api/transport.h"
#include "base/error.h"
#include "base/json.h"

namespace tetrad::api {

/// Whose clients read the error.
enum class ErrorForm { openai, anthropic };

/// The error object of the OpenAI API: {"error": {"message", "type", "param", "code"}}; "" becomes
/// null in `param` and `code`.
json::object error_object(std::string_view message, std::string_view type, std::string_view param,
                          std::string_view code);

/// An Error, with the `code` that OpenAI clients look for where it is not the usual one.
struct ApiError {
  Error error;
  std::string code;

  ApiError(Error cause, std::string_view openai_code = "")  // NOLINT(google-explicit-constructor)
      : error(std::move(cause)), code(openai_code) {}
};

template <class T>
using ApiResult = tl::expected<T, ApiError>;

/// The same for an error. An internal one's text stays here: the client is told only that something
/// failed.
json::object error_object(const ApiError& error);

/// The same in the form of the Anthropic API: {"type": "error", "error": {"type", "message"}}. It
/// has no place for the field's name, which the message holds.
json::object anthropic_error_object(const ApiError& error);

int http_status(ErrorCode code);

/// A whole response for an error, with Retry-After where trying again makes sense.
JsonResponse error_response(const ApiError& error, ErrorForm form = ErrorForm::openai);
/// A whole response for what the ErrorCodes do not distinguish, such as 405 or 413. `code`: only
/// OpenAI's form has it.
JsonResponse error_response(int status, std::string_view message, std::string_view code,
                            ErrorForm form = ErrorForm::openai);

}  // namespace tetrad::api
