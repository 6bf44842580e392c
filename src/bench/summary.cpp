#include <algorithm>

#include "bench/report.h"

namespace tetrad::bench {
namespace {

double milliseconds(Seconds time) {
  return time.count() * 1000;
}

/// The latencies of completed requests, in milliseconds.
struct Latencies {
  std::vector<double> ttft;
  std::vector<double> tpot;
  std::vector<double> itl;
  std::vector<double> e2el;

  void add(const RequestRecord& record) {
    if (record.ttft) ttft.push_back(milliseconds(*record.ttft));
    if (const auto time = record.tpot()) tpot.push_back(milliseconds(*time));
    for (const Seconds gap : record.itls)
      itl.push_back(milliseconds(gap));
    e2el.push_back(milliseconds(record.e2el));
  }
};

void count(const RequestRecord& record, Summary& summary) {
  switch (record.outcome) {
    case Outcome::completed:
      ++summary.completed;
      summary.total_input_tokens += record.usage.prompt_tokens;
      summary.total_output_tokens += record.usage.completion_tokens;
      break;
    case Outcome::failed:
      ++summary.failed;
      if (summary.first_error.empty()) summary.first_error = record.error;
      break;
    case Outcome::disconnected:
      ++summary.disconnected;
      break;
  }
}

std::optional<int64_t> total_cached(const std::vector<RequestRecord>& records) {
  std::optional<int64_t> sum;
  for (const RequestRecord& record : records) {
    if (record.outcome != Outcome::completed) continue;
    if (!record.usage.cached_tokens) return std::nullopt;
    sum = sum.value_or(0) + *record.usage.cached_tokens;
  }
  return sum;
}

/// From the server's counters, which also see disconnected requests; else from the answers.
std::optional<double> prefix_hit_rate(const Summary& summary, const ServerFacts& facts) {
  const ServerMetrics& before = facts.before;
  const ServerMetrics& after = facts.after;
  if (before.prefix_cache_queries && before.prefix_cache_hits && after.prefix_cache_queries &&
      after.prefix_cache_hits) {
    const double queries = *after.prefix_cache_queries - *before.prefix_cache_queries;
    if (queries > 0) return (*after.prefix_cache_hits - *before.prefix_cache_hits) / queries;
  }
  if (!summary.total_cached_tokens || summary.total_input_tokens == 0) return std::nullopt;
  return static_cast<double>(*summary.total_cached_tokens) /
         static_cast<double>(summary.total_input_tokens);
}

void add_rates(const std::vector<RequestRecord>& records, const ServiceLevel& level,
               Summary& summary) {
  if (summary.duration <= 0) return;
  const auto rate = [&](int64_t number) { return static_cast<double>(number) / summary.duration; };
  summary.request_throughput = rate(summary.completed);
  summary.output_throughput = rate(summary.total_output_tokens);
  summary.input_throughput = rate(summary.total_input_tokens);
  summary.total_token_throughput = rate(summary.total_input_tokens + summary.total_output_tokens);
  if (level.is_asked_for()) {
    summary.request_goodput = rate(std::ranges::count_if(
        records, [&](const RequestRecord& record) { return level.is_met_by(record); }));
  }
}

void add_server_facts(const ServerFacts& facts, Summary& summary) {
  summary.prefix_cache_hit_rate = prefix_hit_rate(summary, facts);
  summary.kv_cache_bytes = facts.after.kv_cache_bytes;
  summary.kv_cache_tokens = facts.after.kv_cache_tokens;
  const auto max_model_len =
      facts.after.max_model_len ? facts.after.max_model_len : facts.max_model_len;
  if (summary.kv_cache_tokens && max_model_len && *max_model_len > 0) {
    summary.max_full_length_requests =
        static_cast<double>(*summary.kv_cache_tokens) / static_cast<double>(*max_model_len);
  }
}

}  // namespace

Summary summarise(const RunResult& run, const ServiceLevel& level, const ServerFacts& facts) {
  Summary summary;
  summary.duration = run.duration.count();
  summary.num_unfinished = run.num_unfinished;
  summary.num_skipped_turns = run.num_skipped_turns;
  summary.was_interrupted = run.was_interrupted;
  summary.peak_concurrency = run.peak_concurrency;
  Latencies latencies;
  for (const RequestRecord& record : run.records) {
    count(record, summary);
    if (record.outcome == Outcome::completed) latencies.add(record);
  }
  summary.ttft = distribution_of(std::move(latencies.ttft));
  summary.tpot = distribution_of(std::move(latencies.tpot));
  summary.itl = distribution_of(std::move(latencies.itl));
  summary.e2el = distribution_of(std::move(latencies.e2el));
  summary.total_cached_tokens = total_cached(run.records);
  add_rates(run.records, level, summary);
  add_server_facts(facts, summary);
  return summary;
}

}  // namespace tetrad::bench
