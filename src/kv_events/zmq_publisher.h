#pragma once

// The events of the prefix cache over ZeroMQ, as vLLM publishes them: docs/replicas.md. Built with
// -DTETRAD_KV_EVENTS=ON.

#include <memory>
#include <string>

#include "base/error.h"
#include "base/metrics.h"
#include "engine/engine_observer.h"
#include "kv_events/kv_events_config.h"

namespace tetrad::kv_events {

/// An error where this build has no ZeroMQ.
Result<void> check_has_kv_events();

class KvEventPublisher {
 public:
  virtual ~KvEventPublisher() = default;
  /// What the engine reports to. It must not be used after the publisher's end.
  virtual std::shared_ptr<EngineObserver> observer() const = 0;
  /// As they took effect, with the ports that "*" stood for; "" without replay.
  virtual std::string endpoint() const = 0;
  virtual std::string replay_endpoint() const = 0;
};

/// Binds or connects, and publishes from a thread of its own until the object ends, which sends
/// what there is. The registry must outlive it. Errors name the field of --kv-events-config, or say
/// that this build has no ZeroMQ.
Result<std::unique_ptr<KvEventPublisher>> start_kv_event_publisher(const KvEventsConfig& config,
                                                                   metrics::Registry& registry,
                                                                   const metrics::Labels& labels);

}  // namespace tetrad::kv_events
