#pragma once

// Cross-origin resource sharing: which web pages may read this server's answers. A browser asks;
// nobody else does.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/transport.h"
#include "base/error.h"

namespace tetrad::api {

/// Closed as it stands: no page of another origin reads anything.
struct CorsOptions {
  std::vector<std::string> origins;  // "https://chat.example", or "*" for every page there is
  std::vector<std::string> methods = {"*"};
  std::vector<std::string> headers = {"*"};
  bool allow_credentials = false;
};

/// What vLLM's flags take: a JSON list of strings, or words with commas between them. Errors name
/// the flag.
Result<std::vector<std::string>> parse_cors_list(std::string_view flag, std::string_view text);

class Cors {
 public:
  Cors() = default;  // closed
  /// Errors name the flag: an origin that is not scheme://host[:port], "*" together with
  /// credentials, which would let every page act in its visitor's name.
  static Result<Cors> from(CorsOptions options);

  /// The answer to a browser's question before the real request; nothing if this is none, or if
  /// no origin may ask.
  std::optional<JsonResponse> preflight(const RequestHead& head) const;
  /// What every answer to this request carries.
  std::vector<Header> headers(const RequestHead& head) const;

 private:
  bool allows(std::string_view origin) const;

  CorsOptions options_;
};

}  // namespace tetrad::api
