#pragma once

// What a server says of itself at /metrics (Prometheus text format 0.0.4).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tetrad::bench {

struct MetricSample {
  std::string name;
  std::vector<std::pair<std::string, std::string>> labels;
  double value = 0;

  /// "" if there is none.
  std::string_view label(std::string_view wanted) const;
};

/// The samples of a page. Lines that are none, comments among them, are passed over: a page of
/// which some lines are strange still says the rest.
std::vector<MetricSample> parse_metrics(std::string_view page);

/// Under vLLM's names, and ours where vLLM has none; nothing where the page does not have it.
struct ServerMetrics {
  std::optional<double> prefix_cache_queries;  // tokens, since the server's start
  std::optional<double> prefix_cache_hits;
  std::optional<double> kv_cache_bytes;
  std::optional<int64_t> kv_cache_tokens;  // of one engine
  std::optional<int64_t> max_model_len;
};

ServerMetrics read_server_metrics(std::string_view page);

}  // namespace tetrad::bench
