#include "bench/metrics_page.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace tetrad::bench {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view skip_blanks(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(kBlanks), text.size()));
}

/// Takes a label's value up to its closing quote; false if there is none.
bool take_quoted(std::string_view& rest, std::string& value) {
  for (size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] == '"') {
      rest.remove_prefix(i + 1);
      return true;
    }
    if (rest[i] == '\\' && i + 1 < rest.size()) {
      ++i;
      value += rest[i] == 'n' ? '\n' : rest[i];
    } else {
      value += rest[i];
    }
  }
  return false;
}

/// Takes `name="value", …}`; false if it is something else.
bool take_labels(std::string_view& rest, MetricSample& sample) {
  for (;;) {
    rest = skip_blanks(rest);
    if (rest.starts_with('}')) {
      rest.remove_prefix(1);
      return true;
    }
    const size_t quote = rest.find("=\"");
    if (quote == std::string_view::npos) return false;
    auto& [name, value] = sample.labels.emplace_back(rest.substr(0, quote), "");
    rest.remove_prefix(quote + 2);
    if (!take_quoted(rest, value)) return false;
    rest = skip_blanks(rest);
    if (rest.starts_with(',')) rest.remove_prefix(1);
  }
}

std::optional<MetricSample> parse_line(std::string_view line) {
  line = skip_blanks(line);
  if (line.empty() || line.starts_with('#')) return std::nullopt;
  MetricSample sample;
  const size_t name_end = line.find_first_of(" \t{");
  if (name_end == std::string_view::npos) return std::nullopt;
  sample.name = line.substr(0, name_end);
  line.remove_prefix(name_end);
  if (line.starts_with('{')) {
    line.remove_prefix(1);
    if (!take_labels(line, sample)) return std::nullopt;
  }
  line = skip_blanks(line);
  const auto [end, ec] = std::from_chars(line.data(), line.data() + line.size(), sample.value);
  if (ec != std::errc()) return std::nullopt;
  return sample;
}

/// The sum over all label sets, as over the engines of one server.
std::optional<double> total(const std::vector<MetricSample>& samples, std::string_view name) {
  std::optional<double> sum;
  for (const MetricSample& sample : samples) {
    if (sample.name == name) sum = sum.value_or(0) + sample.value;
  }
  if (sum && !std::isfinite(*sum)) return std::nullopt;
  return sum;
}

std::optional<int64_t> positive_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size() || value <= 0) return std::nullopt;
  return value;
}

std::optional<int64_t> kv_cache_tokens(const std::vector<MetricSample>& samples) {
  for (const MetricSample& sample : samples) {
    if (sample.name != "vllm:cache_config_info") continue;
    const auto block_size = positive_integer(sample.label("block_size"));
    const auto num_blocks = positive_integer(sample.label("num_gpu_blocks"));
    if (!block_size || !num_blocks) continue;
    if (*num_blocks > std::numeric_limits<int64_t>::max() / *block_size) continue;
    return *block_size * *num_blocks;
  }
  return std::nullopt;
}

}  // namespace

std::string_view MetricSample::label(std::string_view wanted) const {
  for (const auto& [key, text] : labels) {
    if (key == wanted) return text;
  }
  return "";
}

std::vector<MetricSample> parse_metrics(std::string_view page) {
  std::vector<MetricSample> samples;
  while (!page.empty()) {
    const size_t end = std::min(page.find('\n'), page.size());
    if (auto sample = parse_line(page.substr(0, end))) samples.push_back(std::move(*sample));
    page.remove_prefix(std::min(end + 1, page.size()));
  }
  return samples;
}

ServerMetrics read_server_metrics(std::string_view page) {
  const std::vector<MetricSample> samples = parse_metrics(page);
  ServerMetrics metrics;
  metrics.prefix_cache_queries = total(samples, "vllm:prefix_cache_queries_total");
  metrics.prefix_cache_hits = total(samples, "vllm:prefix_cache_hits_total");
  metrics.kv_cache_bytes = total(samples, "tetrad:kv_cache_bytes");
  metrics.kv_cache_tokens = kv_cache_tokens(samples);
  const auto max_model_len = total(samples, "tetrad:max_model_len");
  if (max_model_len && *max_model_len >= 1 && *max_model_len < 1e15) {
    metrics.max_model_len = static_cast<int64_t>(*max_model_len);
  }
  return metrics;
}

}  // namespace tetrad::bench
