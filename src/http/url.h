#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tetrad::http {

/// Where a server is: http://host[:port][/path].
struct Url {
  std::string host;  // a name or an address; an IPv6 address without its brackets
  uint16_t port = 80;
  std::string path;  // "" or "/…", without a slash at its end

  /// The value of a Host header.
  std::string authority() const;
};

/// Refuses other schemes than http, credentials, a query, and characters that may not stand in a
/// request line.
Result<Url> parse_url(std::string_view text);

}  // namespace tetrad::http
