#include "api/router.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <iterator>

#include "text/utf8.h"

namespace tetrad::api {
namespace {

constexpr Route kRoutes[] = {
    {.method = "POST",
     .path = "/v1/chat/completions",
     .endpoint = Endpoint::chat_completions,
     .generates = true},
    {.method = "POST", .path = "/v1/chat/completions/render", .endpoint = Endpoint::chat_render},
    {.method = "POST",
     .path = "/v1/completions",
     .endpoint = Endpoint::completions,
     .generates = true},
    {.method = "POST", .path = "/v1/responses", .endpoint = Endpoint::responses, .generates = true},
    {.method = "POST",
     .path = "/v1/messages",
     .endpoint = Endpoint::messages,
     .generates = true,
     .errors = ErrorForm::anthropic},
    {.method = "POST",
     .path = "/v1/messages/count_tokens",
     .endpoint = Endpoint::count_tokens,
     .errors = ErrorForm::anthropic},
    {.method = "POST", .path = "/tokenize", .endpoint = Endpoint::tokenize},
    {.method = "POST", .path = "/detokenize", .endpoint = Endpoint::detokenize},
    {.method = "GET", .path = "/v1/models", .endpoint = Endpoint::models},
    {.method = "GET", .path = "/v1/models/", .endpoint = Endpoint::model},
    {.method = "GET", .path = "/health", .endpoint = Endpoint::health, .open_to_all = true},
    {.method = "GET", .path = "/ping", .endpoint = Endpoint::health, .open_to_all = true},
    {.method = "GET", .path = "/ready", .endpoint = Endpoint::ready, .open_to_all = true},
    {.method = "GET",
     .path = "/health_generate",
     .endpoint = Endpoint::health_generate,
     .generates = true},
    {.method = "GET", .path = "/version", .endpoint = Endpoint::version},
    {.method = "GET", .path = "/load", .endpoint = Endpoint::load},
    {.method = "GET", .path = "/metrics", .endpoint = Endpoint::metrics},
};

std::string_view path_of(std::string_view target) {
  return target.substr(0, target.find('?'));
}

std::string pattern(const Route& route) {
  return fmt::format("{}{}", route.path, route.path.back() == '/' ? "{id}" : "");
}

std::string routes_text() {
  std::string text;
  for (const Route& route : kRoutes) {
    fmt::format_to(std::back_inserter(text), "{}{} {}", text.empty() ? "" : ", ", route.method,
                   pattern(route));
  }
  return text;
}

std::string allowed_methods(const Route& route) {
  return route.method == "GET" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
}

bool method_fits(const Route& route, std::string_view method) {
  return method == route.method || (method == "HEAD" && route.method == "GET");
}

/// A web page of a foreign origin can make a browser send a POST unasked, but not one that
/// declares JSON.
bool declares_json(std::string_view content_type) {
  std::string media_type(content_type.substr(0, content_type.find(';')));
  while (!media_type.empty() && media_type.back() == ' ')
    media_type.pop_back();
  std::ranges::transform(media_type, media_type.begin(),
                         [](unsigned char c) { return std::tolower(c); });
  return media_type == "application/json";
}

}  // namespace

std::span<const Route> all_routes() {
  return kRoutes;
}

const Route* find_route(std::string_view target) {
  const std::string_view path = path_of(target);
  const auto matches = [path](const Route& route) {
    const bool takes_argument = route.path.back() == '/';
    return takes_argument ? path.size() > route.path.size() && path.starts_with(route.path)
                          : path == route.path;
  };
  const auto* found = std::ranges::find_if(kRoutes, matches);
  return found == std::end(kRoutes) ? nullptr : found;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const std::string_view digits = text.substr(i + 1, 2);
    unsigned char byte = 0;
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (ec != std::errc() || digits.size() != 2 || end != digits.data() + 2 || byte == 0) {
      return std::nullopt;
    }
    decoded += static_cast<char>(byte);
    i += 2;
  }
  if (find_invalid_utf8(decoded)) return std::nullopt;
  return decoded;
}

std::string route_pattern(std::string_view target) {
  const Route* found = find_route(target);
  return found == nullptr ? "none" : pattern(*found);
}

std::variant<Destination, JsonResponse> route(const RequestHead& head) {
  const std::string_view path = path_of(head.target);
  const Route* found = find_route(path);
  if (found == nullptr) {
    return error_response(
        404,
        fmt::format("there is no such path; this server generates text, makes no embeddings, "
                    "rankings, images or audio, and answers {}",
                    routes_text()),
        "unknown_path");
  }
  if (head.method == "OPTIONS") {
    return JsonResponse{.status = 204, .body = "", .headers = {{"Allow", allowed_methods(*found)}}};
  }
  if (!method_fits(*found, head.method)) {
    JsonResponse response =
        error_response(405, fmt::format("this path answers {}", allowed_methods(*found)),
                       "method_not_allowed", found->errors);
    response.headers.push_back({"Allow", allowed_methods(*found)});
    return response;
  }
  if (found->method == "POST" && !declares_json(head.content_type)) {
    return error_response(415,
                          "send the body as JSON, with the header Content-Type: "
                          "application/json",
                          "unsupported_media_type", found->errors);
  }
  std::optional<std::string> argument;
  if (found->path.back() == '/') {
    argument = percent_decode(path.substr(found->path.size()));
    if (!argument) return error_response(400, "the path has a broken %-escape", "bad_path");
  }
  return Destination{found->endpoint, argument.value_or("")};
}

}  // namespace tetrad::api
