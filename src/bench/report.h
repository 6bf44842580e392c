#pragma once

// The figures of a run, under the field names of vLLM's benchmark, and the table of a model card.

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "bench/goodput.h"
#include "bench/load_run.h"
#include "bench/metrics_page.h"
#include "bench/statistics.h"

namespace tetrad::bench {

/// What the server said of itself before and after the run.
struct ServerFacts {
  ServerMetrics before;
  ServerMetrics after;
  std::optional<int64_t> max_model_len;
};

struct Summary {
  double duration = 0;  // seconds
  int64_t completed = 0;
  int64_t failed = 0;
  int64_t disconnected = 0;
  int64_t num_unfinished = 0;
  int64_t num_skipped_turns = 0;
  bool was_interrupted = false;
  std::string first_error;
  int64_t peak_concurrency = 0;

  // Of completed requests, in tokens as the server counts them.
  int64_t total_input_tokens = 0;
  int64_t total_output_tokens = 0;
  std::optional<int64_t> total_cached_tokens;  // if each answer said how many

  // Each second.
  std::optional<double> request_throughput;
  std::optional<double> request_goodput;  // if asked for
  std::optional<double> output_throughput;
  std::optional<double> input_throughput;  // prompt tokens, cached ones included
  std::optional<double> total_token_throughput;

  // Milliseconds. ttft, tpot and e2el have one value for each request, itl one for each gap.
  std::optional<Distribution> ttft;
  std::optional<Distribution> tpot;
  std::optional<Distribution> itl;
  std::optional<Distribution> e2el;

  // Nothing where the server does not tell.
  std::optional<double> prefix_cache_hit_rate;  // 0 to 1
  std::optional<double> kv_cache_bytes;
  std::optional<int64_t> kv_cache_tokens;
  std::optional<double> max_full_length_requests;
};

Summary summarise(const RunResult& run, const ServiceLevel& level, const ServerFacts& facts);

/// What is unknown is null.
json::object report_json(const Summary& summary);
/// vLLM's lists of --save-detailed, one element a request.
json::object detailed_json(const RunResult& run);
/// For a person; what is unknown is "n/a".
std::string report_text(const Summary& summary);

}  // namespace tetrad::bench
