#include "api/cors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "base/trimmed.h"

namespace tetrad::api {
namespace {

constexpr std::string_view kOriginsFlag = "--allowed-origins";
constexpr std::string_view kAny = "*";
/// For how long a browser need not ask again.
constexpr std::string_view kPreflightSeconds = "600";

bool has_any(const std::vector<std::string>& words) {
  return std::ranges::find(words, kAny) != words.end();
}

constexpr std::string_view kBlanksAroundWords = " \t";

/// A word that may stand in a header, as origins, methods and header names do.
bool is_cors_word(std::string_view word) {
  return !word.empty() && std::ranges::all_of(word, [](unsigned char c) {
    return c > ' ' && c < 0x7F && c != ',' && c != '"';
  });
}

/// "https://chat.example:8443": what browsers send, without a path.
bool is_origin(std::string_view word) {
  if (word == kAny || word == "null") return word == kAny;  // any sandboxed page is "null"
  const size_t scheme = word.find("://");
  return scheme != std::string_view::npos && scheme > 0 && word.size() > scheme + 3 &&
         word.find('/', scheme + 3) == std::string_view::npos;
}

}  // namespace

Result<std::vector<std::string>> parse_cors_list(std::string_view flag, std::string_view text) {
  std::vector<std::string> words;
  text = trimmed(text, kBlanksAroundWords);
  if (text.starts_with('[')) {
    auto parsed = parse_json(text);
    if (!parsed) return fail_param(flag, "{}: {}", flag, parsed.error().message);
    for (const json::value& word : parsed->as_array()) {
      if (!word.is_string()) return fail_param(flag, "{}: the list must hold strings", flag);
      words.emplace_back(std::string_view(word.get_string()));
    }
  } else {
    while (!text.empty()) {
      const size_t comma = text.find(',');
      words.emplace_back(trimmed(text.substr(0, comma), kBlanksAroundWords));
      text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
    }
  }
  for (const std::string& word : words) {
    if (!is_cors_word(word)) return fail_param(flag, "{}: '{}' is not a word", flag, word);
  }
  return words;
}

Result<Cors> Cors::from(CorsOptions options) {
  for (const std::string& origin : options.origins) {
    if (is_origin(origin)) continue;
    return fail_param(kOriginsFlag,
                      "{}: '{}' is not an origin such as https://chat.example or "
                      "http://localhost:3000, without a path",
                      kOriginsFlag, origin);
  }
  if (options.allow_credentials && has_any(options.origins)) {
    return fail_param("--allow-credentials",
                      "--allow-credentials with {} '*' would let every web page act in its "
                      "visitor's name; name the origins",
                      kOriginsFlag);
  }
  Cors cors;
  cors.options_ = std::move(options);
  return cors;
}

bool Cors::allows(std::string_view origin) const {
  return !origin.empty() && (has_any(options_.origins) ||
                             std::ranges::find(options_.origins, origin) != options_.origins.end());
}

std::optional<JsonResponse> Cors::preflight(const RequestHead& head) const {
  if (head.method != "OPTIONS" || head.requested_method.empty() || !allows(head.origin)) {
    return std::nullopt;
  }
  JsonResponse response{.status = 204};
  // A literal '*' would not cover Authorization, so what was asked for is what is allowed.
  std::string methods = fmt::format("{}", fmt::join(options_.methods, ", "));
  if (has_any(options_.methods)) methods = "GET, HEAD, POST, OPTIONS";
  std::string headers = fmt::format("{}", fmt::join(options_.headers, ", "));
  if (has_any(options_.headers)) headers = head.requested_headers;
  response.headers.push_back({"Access-Control-Allow-Methods", std::move(methods)});
  if (!headers.empty()) {
    response.headers.push_back({"Access-Control-Allow-Headers", std::move(headers)});
  }
  response.headers.push_back({"Access-Control-Max-Age", std::string(kPreflightSeconds)});
  return response;
}

std::vector<Header> Cors::headers(const RequestHead& head) const {
  if (options_.origins.empty()) return {};
  const bool any = has_any(options_.origins);
  std::vector<Header> headers;
  // Whoever stores an answer must not hand it to a page of another origin.
  if (!any) headers.push_back({"Vary", "Origin"});
  if (!allows(head.origin)) return headers;
  headers.push_back({"Access-Control-Allow-Origin", any ? std::string(kAny) : head.origin});
  headers.push_back({"Access-Control-Expose-Headers", "Retry-After, X-Request-Id"});
  if (options_.allow_credentials) {
    headers.push_back({"Access-Control-Allow-Credentials", "true"});
  }
  return headers;
}

}  // namespace tetrad::api
