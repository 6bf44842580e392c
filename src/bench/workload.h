#pragma once

// What is asked of the server. A workload is a row of sessions; a session asks one request after
// another, each when the one before is answered. A single prompt is a session of one turn.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/json.h"

namespace tetrad::bench {

struct ApiRequest {
  std::string target;      // "/v1/completions" or "/v1/chat/completions"
  json::object body;       // with model, stream and limits
  int64_t max_tokens = 1;  // as in the body
};

/// An answer, put together from its stream.
struct Answer {
  std::string content;
  std::string reasoning;
  // Under which names the reasoning came: it goes back under the same.
  bool has_reasoning_field = false;
  bool has_reasoning_content_field = false;
  json::array tool_calls;  // as in a message
};

class Session {
 public:
  virtual ~Session() = default;
  /// Nothing: the session is over. `previous` is the answer to the last request, nullptr before
  /// the first.
  virtual std::optional<ApiRequest> next(const Answer* previous) = 0;
};

class Workload {
 public:
  virtual ~Workload() = default;
  /// The same for the same index and seed, whatever was asked before; any index is good.
  virtual std::unique_ptr<Session> session(uint64_t index) const = 0;
  /// Requests of a session that goes well.
  virtual int64_t turns_per_session() const = 0;
};

/// What every request's body has in it.
struct RequestSettings {
  std::string model;
  uint64_t seed = 0;  // of the workload; not sent
  bool ignore_eos = false;
  std::optional<double> temperature;  // nothing: the server's default

  json::object body(int64_t max_tokens) const;
};

}  // namespace tetrad::bench
