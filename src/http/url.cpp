#include "http/url.h"

#include <algorithm>
#include <charconv>

namespace tetrad::http {
namespace {

constexpr std::string_view kScheme = "http://";

Result<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (ec != std::errc() || end != text.data() + text.size() || port == 0) {
    return fail(ErrorCode::invalid_argument, "\"{}\" is not a port from 1 to 65535", text);
  }
  return port;
}

/// Fills in host and port from "host", "host:port", "[v6]" or "[v6]:port".
Result<void> parse_authority(std::string_view text, Url& url) {
  size_t host_end = text.find(':');
  if (text.starts_with('[')) {
    const size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) {
      return fail(ErrorCode::invalid_argument, "the bracket of an IPv6 address is not closed");
    }
    url.host = text.substr(1, bracket - 1);
    host_end = bracket + 1;
  } else {
    url.host = text.substr(0, host_end);
  }
  if (url.host.empty()) return fail(ErrorCode::invalid_argument, "it names no host");
  const std::string_view rest = host_end < text.size() ? text.substr(host_end) : "";
  if (rest.empty()) return {};
  if (!rest.starts_with(':')) {
    return fail(ErrorCode::invalid_argument, "after the host comes \":port\", not \"{}\"", rest);
  }
  TETRAD_ASSIGN(url.port, parse_port(rest.substr(1)));
  return {};
}

Result<Url> parse(std::string_view text) {
  if (!text.starts_with(kScheme)) {
    return fail(ErrorCode::invalid_argument,
                "only http://host[:port][/path] is understood; reach a TLS server through a local "
                "proxy");
  }
  const auto is_unfit = [](char c) { return c <= ' ' || c >= 0x7f || c == '?' || c == '#'; };
  if (std::ranges::any_of(text, is_unfit)) {
    return fail(ErrorCode::invalid_argument,
                "it may hold neither blanks, control characters, a query nor a fragment");
  }
  text.remove_prefix(kScheme.size());
  const size_t slash = std::min(text.find('/'), text.size());
  const std::string_view authority = text.substr(0, slash);
  if (authority.find('@') != std::string_view::npos) {
    return fail(ErrorCode::invalid_argument, "it may not hold a user name or password");
  }
  Url url;
  TETRAD_TRY(parse_authority(authority, url));
  url.path = text.substr(slash);
  while (url.path.ends_with('/'))
    url.path.pop_back();
  return url;
}

}  // namespace

std::string Url::authority() const {
  const bool is_v6 = host.find(':') != std::string::npos;
  return is_v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

Result<Url> parse_url(std::string_view text) {
  auto url = parse(text);
  if (!url) return tl::unexpected(std::move(url.error()).in(fmt::format("the URL {}", text)));
  return url;
}

}  // namespace tetrad::http
