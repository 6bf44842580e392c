#include "bench/workload.h"

namespace tetrad::bench {

json::object RequestSettings::body(int64_t max_tokens) const {
  json::object body{{"model", model},
                    {"max_tokens", max_tokens},
                    {"stream", true},
                    {"stream_options", {{"include_usage", true}}}};
  if (ignore_eos) body["ignore_eos"] = true;
  if (temperature) body["temperature"] = *temperature;
  return body;
}

}  // namespace tetrad::bench
