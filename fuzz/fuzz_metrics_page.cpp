// A server's /metrics, as tetrad bench reads it.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "bench/metrics_page.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const tetrad::bench::ServerMetrics metrics =
      tetrad::bench::read_server_metrics({reinterpret_cast<const char*>(data), size});
  if (metrics.kv_cache_tokens && *metrics.kv_cache_tokens <= 0) std::abort();
  if (metrics.max_model_len && *metrics.max_model_len <= 0) std::abort();
  return 0;
}
