#include "bench/report.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

namespace tetrad::bench {
namespace {

template <class T>
json::value value_or_null(const std::optional<T>& value) {
  if (!value) return nullptr;
  return json::value(*value);
}

void add_distribution(json::object& report, std::string_view name,
                      const std::optional<Distribution>& distribution) {
  const auto add = [&](std::string_view statistic, double Distribution::* member) {
    json::value& value = report[fmt::format("{}_{}_ms", statistic, name)];
    if (distribution) value = *distribution.*member;
  };
  add("mean", &Distribution::mean);
  add("median", &Distribution::median);
  add("std", &Distribution::std);
  for (size_t i = 0; i < kPercentiles.size(); ++i) {
    json::value& value = report[fmt::format("p{}_{}_ms", kPercentiles[i], name)];
    if (distribution) value = distribution->percentiles[i];
  }
}

/// Collects "label   value" lines.
class Table {
 public:
  void heading(std::string_view text) { fmt::format_to(std::back_inserter(text_), "\n{}\n", text); }
  void row(std::string_view label, std::string_view value) {
    fmt::format_to(std::back_inserter(text_), "  {:<42}{:>14}\n", label, value);
  }
  void row(std::string_view label, int64_t value) { row(label, fmt::format("{}", value)); }
  void row(std::string_view label, const std::optional<double>& value, double factor = 1) {
    row(label, value ? fmt::format("{:.2f}", *value * factor) : "n/a");
  }
  void row(std::string_view label, const std::optional<int64_t>& value) {
    row(label, value ? fmt::format("{}", *value) : "n/a");
  }
  void row_unless_zero(std::string_view label, int64_t value) {
    if (value != 0) row(label, value);
  }
  void line(std::string_view text) { text_.append(text).append("\n"); }

  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void add_requests(Table& table, const Summary& summary) {
  table.heading(summary.was_interrupted ? "Requests (interrupted: what was measured so far)"
                                        : "Requests");
  table.row("completed", summary.completed);
  table.row("failed", summary.failed);
  table.row_unless_zero("disconnected on purpose", summary.disconnected);
  table.row_unless_zero("unfinished", summary.num_unfinished);
  table.row_unless_zero("turns not asked, their session had ended", summary.num_skipped_turns);
  table.row("duration (s)", std::optional(summary.duration));
  table.row("most requests at once", summary.peak_concurrency);
  table.row("request throughput (req/s)", summary.request_throughput);
  if (summary.request_goodput) table.row("request goodput (req/s)", summary.request_goodput);
  table.row("input tokens", summary.total_input_tokens);
  table.row("of them from the prefix cache", summary.total_cached_tokens);
  table.row("output tokens", summary.total_output_tokens);
  table.row("total token throughput (tok/s)", summary.total_token_throughput);
}

void add_latencies(Table& table, const Summary& summary) {
  table.heading("Latencies (ms)");
  std::string header = fmt::format("  {:<6}{:>10}{:>10}{:>10}", "", "mean", "median", "std");
  for (const int percent : kPercentiles)
    fmt::format_to(std::back_inserter(header), "{:>10}", fmt::format("p{}", percent));
  table.line(header);
  const std::pair<std::string_view, const std::optional<Distribution>*> rows[] = {
      {"ttft", &summary.ttft},
      {"tpot", &summary.tpot},
      {"itl", &summary.itl},
      {"e2el", &summary.e2el}};
  for (const auto& [name, distribution] : rows) {
    std::string line = fmt::format("  {:<6}", name);
    if (*distribution) {
      const Distribution& values = **distribution;
      fmt::format_to(std::back_inserter(line), "{:>10.2f}{:>10.2f}{:>10.2f}", values.mean,
                     values.median, values.std);
      for (const double value : values.percentiles)
        fmt::format_to(std::back_inserter(line), "{:>10.2f}", value);
    } else {
      line += fmt::format("{:>10}", "n/a");
    }
    table.line(line);
  }
}

void add_model_card(Table& table, const Summary& summary) {
  constexpr double kPerCent = 100;
  constexpr double kGiB = 1.0 / (1 << 30);
  table.heading("Model card");
  table.row("generation throughput (tok/s)", summary.output_throughput);
  table.row("prefill throughput (tok/s)", summary.input_throughput);
  table.row("prefix cache hit rate (%)", summary.prefix_cache_hit_rate, kPerCent);
  table.row("KV cache memory (GiB)", summary.kv_cache_bytes, kGiB);
  table.row("KV cache capacity (tokens)", summary.kv_cache_tokens);
  table.row("full-length requests at once", summary.max_full_length_requests);
}

}  // namespace

json::object report_json(const Summary& summary) {
  json::object report{
      {"duration", summary.duration},
      {"completed", summary.completed},
      {"failed", summary.failed},
      {"disconnected", summary.disconnected},
      {"unfinished", summary.num_unfinished},
      {"interrupted", summary.was_interrupted},
      {"total_input_tokens", summary.total_input_tokens},
      {"total_output_tokens", summary.total_output_tokens},
      {"total_cached_tokens", value_or_null(summary.total_cached_tokens)},
      {"request_throughput", value_or_null(summary.request_throughput)},
      {"request_goodput", value_or_null(summary.request_goodput)},
      {"output_throughput", value_or_null(summary.output_throughput)},
      {"total_token_throughput", value_or_null(summary.total_token_throughput)},
      {"max_concurrent_requests", summary.peak_concurrency},
  };
  add_distribution(report, "ttft", summary.ttft);
  add_distribution(report, "tpot", summary.tpot);
  add_distribution(report, "itl", summary.itl);
  add_distribution(report, "e2el", summary.e2el);
  report["generation_throughput"] = value_or_null(summary.output_throughput);
  report["prefill_throughput"] = value_or_null(summary.input_throughput);
  report["prefix_cache_hit_rate"] = value_or_null(summary.prefix_cache_hit_rate);
  report["kv_cache_bytes"] = value_or_null(summary.kv_cache_bytes);
  report["kv_cache_tokens"] = value_or_null(summary.kv_cache_tokens);
  report["max_full_length_requests"] = value_or_null(summary.max_full_length_requests);
  return report;
}

json::object detailed_json(const RunResult& run) {
  json::array input_lens;
  json::array output_lens;
  json::array ttfts;
  json::array itls;
  json::array start_times;
  json::array errors;
  for (const RequestRecord& record : run.records) {
    input_lens.emplace_back(record.usage.prompt_tokens);
    output_lens.emplace_back(record.usage.completion_tokens);
    ttfts.emplace_back(record.ttft.value_or(Seconds(0)).count());
    json::array gaps;
    for (const Seconds gap : record.itls)
      gaps.emplace_back(gap.count());
    itls.emplace_back(std::move(gaps));
    start_times.emplace_back((record.start - run.start).count());
    errors.emplace_back(record.error);
  }
  return {{"input_lens", std::move(input_lens)},
          {"output_lens", std::move(output_lens)},
          {"ttfts", std::move(ttfts)},
          {"itls", std::move(itls)},
          {"start_times", std::move(start_times)},
          {"generated_texts", json::array(run.texts.begin(), run.texts.end())},
          {"errors", std::move(errors)}};
}

std::string report_text(const Summary& summary) {
  Table table;
  add_requests(table, summary);
  add_latencies(table, summary);
  add_model_card(table, summary);
  if (!summary.first_error.empty()) {
    table.line(fmt::format("\nThe first failure: {}", summary.first_error));
  }
  return table.take();
}

}  // namespace tetrad::bench
