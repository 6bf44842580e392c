#include "api/router.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "api/error_response.h"
#include "text/utf8.h"

namespace tetrad::api {
namespace {

struct Route {
  std::string_view method;  // GET answers HEAD too
  std::string_view path;    // one that ends in '/' takes the rest as its argument
  Endpoint endpoint;
};

constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", Endpoint::chat_completions},
    {"POST", "/v1/completions", Endpoint::completions},
    {"GET", "/v1/models", Endpoint::models},
    {"GET", "/v1/models/", Endpoint::model},
    {"GET", "/health", Endpoint::health},
    {"GET", "/version", Endpoint::version},
    {"GET", "/load", Endpoint::load},
    {"GET", "/metrics", Endpoint::metrics},
};

std::string_view path_of(std::string_view target) {
  return target.substr(0, target.find('?'));
}

const Route* find_route(std::string_view path) {
  const auto matches = [path](const Route& route) {
    const bool takes_argument = route.path.back() == '/';
    return takes_argument ? path.size() > route.path.size() && path.starts_with(route.path)
                          : path == route.path;
  };
  const auto* found = std::ranges::find_if(kRoutes, matches);
  return found == std::end(kRoutes) ? nullptr : found;
}

std::string pattern(const Route& route) {
  return fmt::format("{}{}", route.path, route.path.back() == '/' ? "{id}" : "");
}

std::string all_routes() {
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
  const Route* found = find_route(path_of(target));
  return found == nullptr ? "none" : pattern(*found);
}

bool is_open_to_all(std::string_view target) {
  return path_of(target) == "/health";
}

std::variant<Destination, JsonResponse> route(const RequestHead& head) {
  const std::string_view path = path_of(head.target);
  const Route* found = find_route(path);
  if (found == nullptr) {
    return error_response(
        404,
        fmt::format("there is no such path; this server generates text and answers {}",
                    all_routes()),
        "unknown_path");
  }
  if (head.method == "OPTIONS") {
    return JsonResponse{.status = 204, .body = "", .headers = {{"Allow", allowed_methods(*found)}}};
  }
  if (!method_fits(*found, head.method)) {
    JsonResponse response = error_response(
        405, fmt::format("this path answers {}", allowed_methods(*found)), "method_not_allowed");
    response.headers.push_back({"Allow", allowed_methods(*found)});
    return response;
  }
  if (found->method == "POST" && !declares_json(head.content_type)) {
    return error_response(415,
                          "send the body as JSON, with the header Content-Type: "
                          "application/json",
                          "unsupported_media_type");
  }
  std::optional<std::string> argument;
  if (found->path.back() == '/') {
    argument = percent_decode(path.substr(found->path.size()));
    if (!argument) return error_response(400, "the path has a broken %-escape", "bad_path");
  }
  return Destination{found->endpoint, argument.value_or("")};
}

}  // namespace tetrad::api
