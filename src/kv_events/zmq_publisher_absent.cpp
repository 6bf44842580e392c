// In a build without ZeroMQ.

#include "kv_events/zmq_publisher.h"

namespace tetrad::kv_events {

Result<void> check_has_kv_events() {
  return fail_param("--kv-events-config",
                    "--kv-events-config: this tetrad was built without ZeroMQ; build it with "
                    "-DTETRAD_KV_EVENTS=ON");
}

Result<std::unique_ptr<KvEventPublisher>> start_kv_event_publisher(
    const KvEventsConfig& /*config*/, metrics::Registry& /*registry*/,
    const metrics::Labels& /*labels*/) {
  TETRAD_TRY(check_has_kv_events());
  return nullptr;  // never: there is an error
}

}  // namespace tetrad::kv_events
