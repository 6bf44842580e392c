#pragma once

// --kv-events-config, with vLLM's fields (vllm/config/kv_events.py).

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tetrad::kv_events {

struct KvEventsConfig {
  bool enabled = false;  // "enable_kv_cache_events", and a "publisher" that is not "null"
  std::string endpoint = "tcp://127.0.0.1:5557";
  bool bind = true;                  // or connect to a subscriber that binds
  std::string replay_endpoint;       // is bound; "": no replay
  int64_t buffer_steps = 10'000;     // batches kept for replay
  int64_t hwm = 100'000;             // batches that wait for one subscriber
  int64_t max_queue_size = 100'000;  // batches that wait for the publisher
  std::string topic;
};

/// A field that is not there has vLLM's default, but for the endpoint: this machine alone. Whether
/// the endpoint is bound or connected to is vLLM's rule (bound are "*", "::", ipc:// and
/// inproc://), with loopback addresses among the bound, unless a field "bind" says it. Errors name
/// the field.
Result<KvEventsConfig> parse_kv_events_config(std::string_view text);

/// Refuses to bind what other machines reach: an event has the tokens of prompts, and ZeroMQ asks
/// nobody who he is.
Result<void> check_is_local(const KvEventsConfig& config);

}  // namespace tetrad::kv_events
