#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "api/answer.h"
#include "api/cache_salt.h"
#include "api/sampling_request.h"
#include "base/json.h"

namespace tetrad::api {

struct ServiceOptions {
  /// Names the model answers to; the first is the one used where a request names none.
  std::vector<std::string> model_names;
  std::vector<std::string> api_keys;
  PrefixSharing prefix_sharing = PrefixSharing::within_key;
  SamplingDefaults defaults;
  int64_t stream_interval = 1;  // tokens that events of a stream carry at least, but the first
  /// Of chat completions. The other dialects have a place of their own for thinking.
  ReasoningMode reasoning_mode = ReasoningMode::split;
  json::object version;  // what GET /version says
  std::string system_fingerprint;
  std::function<std::string()> metrics_text;  // what GET /metrics says; null: nothing
  /// Whether the server will end, so that nobody should send it new work; null: never. /ready
  /// tells. Asked on any thread.
  std::function<bool()> is_leaving;
  /// Whether it takes none any more; null: never. Asked on any thread.
  std::function<bool()> is_draining;
};

}  // namespace tetrad::api
