#include "api/error_response.h"

namespace tetrad::api {
namespace {

json::value string_or_null(std::string_view text) {
  if (text.empty()) return nullptr;
  return json::value(text);
}

std::string_view error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status >= 500 ? "internal_server_error" : "invalid_request_error";
  }
}

std::string_view anthropic_error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

/// What a client may know of an error.
std::string_view public_message(const Error& error) {
  return http_status(error.code) == 500 ? "internal error; the server's log says more"
                                        : std::string_view(error.message);
}

json::object anthropic_object(int status, std::string_view message) {
  json::object error;
  error["type"] = anthropic_error_type(status);
  error["message"] = message;
  json::object result;
  result["type"] = "error";
  result["error"] = std::move(error);
  return result;
}

std::vector<Header> retry_headers(int status) {
  if (status == 429 || status == 503) return {{"Retry-After", "1"}};
  return {};
}

std::string_view openai_code(const Error& error) {
  switch (error.code) {
    case ErrorCode::not_found:
      return error.param == "model" ? "model_not_found" : "";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::resource_exhausted:
      return "overloaded";
    case ErrorCode::cancelled:
      return "cancelled";
    default:
      return "";
  }
}

}  // namespace

json::object error_object(std::string_view message, std::string_view type, std::string_view param,
                          std::string_view code) {
  json::object error;
  error["message"] = message;
  error["type"] = type;
  error["param"] = string_or_null(param);
  error["code"] = string_or_null(code);
  json::object result;
  result["error"] = std::move(error);
  return result;
}

json::object error_object(const ApiError& api_error) {
  const Error& error = api_error.error;
  const int status = http_status(error.code);
  const std::string_view code =
      api_error.code.empty() ? openai_code(error) : std::string_view(api_error.code);
  return error_object(public_message(error), error_type(status), error.param, code);
}

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::unsupported:
      return 400;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::resource_exhausted:
      return 429;
    case ErrorCode::cancelled:
      return 503;
    case ErrorCode::corrupt_data:
    case ErrorCode::io:
    case ErrorCode::internal:
      return 500;
  }
  return 500;
}

json::object anthropic_error_object(const ApiError& api_error) {
  return anthropic_object(http_status(api_error.error.code), public_message(api_error.error));
}

JsonResponse error_response(const ApiError& error, ErrorForm form) {
  const int status = http_status(error.error.code);
  const bool anthropic = form == ErrorForm::anthropic;
  return {.status = status,
          .body = to_json_text(anthropic ? anthropic_error_object(error) : error_object(error)),
          .headers = retry_headers(status)};
}

JsonResponse error_response(int status, std::string_view message, std::string_view code,
                            ErrorForm form) {
  const bool anthropic = form == ErrorForm::anthropic;
  return {.status = status,
          .body = to_json_text(anthropic ? anthropic_object(status, message)
                                         : error_object(message, error_type(status), "", code)),
          .headers = retry_headers(status)};
}

}  // namespace tetrad::api
