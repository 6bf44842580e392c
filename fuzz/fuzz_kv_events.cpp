// --kv-events-config, and the number in a request for a replay, which anybody may send.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "kv_events/event_batch.h"
#include "kv_events/kv_events_config.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tetrad::kv_events;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto sequence = decode_sequence(text)) require(encode_sequence(*sequence) == text);
  const auto config = parse_kv_events_config(text);
  if (!config) {
    require(config.error().param == "--kv-events-config" && !config.error().message.empty());
    return 0;
  }
  require(!config->endpoint.empty() && config->hwm > 0 && config->buffer_steps > 0);
  // All addresses of the machine are not local.
  const std::string& endpoint = config->endpoint;
  if (endpoint.starts_with("tcp://*:") || endpoint.starts_with("tcp://[::]:")) {
    require(!config->bind || !check_is_local(*config));
  }
  return 0;
}
