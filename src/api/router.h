#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "api/transport.h"

namespace tetrad::api {

enum class Endpoint {
  chat_completions,
  completions,
  models,
  model,  // argument: its name
  health,
  version,
  load,
  metrics,
};

struct Destination {
  Endpoint endpoint;
  std::string argument;  // percent-decoded
};

/// Where a request goes, or why nowhere: 404 and 405 with what there is instead, 415 for a POST
/// that does not declare JSON, 204 for OPTIONS.
std::variant<Destination, JsonResponse> route(const RequestHead& head);

/// The route's path as metrics name it, such as "/v1/models/{id}"; "none" where there is no route.
std::string route_pattern(std::string_view target);

/// The path is served to everybody: probes come without keys. Scrapers can send one.
bool is_open_to_all(std::string_view target);

/// %2F becomes '/'; nothing for a broken escape, for %00 and for what is not UTF-8.
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace tetrad::api
