#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "api/error_response.h"
#include "api/transport.h"

namespace tetrad::api {

enum class Endpoint {
  chat_completions,
  chat_render,
  completions,
  responses,
  messages,
  count_tokens,
  tokenize,
  detokenize,
  models,
  model,  // argument: its name
  health,
  ready,
  health_generate,
  version,
  load,
  metrics,
};

struct Route {
  std::string_view method;  // GET answers HEAD too
  std::string_view path;    // one that ends in '/' takes the rest as its argument
  Endpoint endpoint;
  bool generates = false;    // refused while the server is draining
  bool open_to_all = false;  // needs no key: probes come without. They tell up or down, no more
  ErrorForm errors = ErrorForm::openai;
};

/// Everything this server answers.
std::span<const Route> all_routes();

struct Destination {
  Endpoint endpoint;
  std::string argument;  // percent-decoded
};

/// Where a request goes, or why nowhere: 404 and 405 with what there is instead, 415 for a POST
/// that does not declare JSON, 204 for OPTIONS.
std::variant<Destination, JsonResponse> route(const RequestHead& head);

/// The route of a path, whatever the method; null where there is none.
const Route* find_route(std::string_view target);

/// The route's path as metrics name it, such as "/v1/models/{id}"; "none" where there is no route.
std::string route_pattern(std::string_view target);

/// %2F becomes '/'; nothing for a broken escape, for %00 and for what is not UTF-8.
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace tetrad::api
