#include "base/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

namespace tetrad::metrics {
namespace {

/// Copies `text`, with what would end its line or its quotation escaped.
std::string escape(std::string_view text, bool quoted) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\n') {
      escaped += "\\n";
    } else if (c == '\\' || (c == '"' && quoted)) {
      escaped += '\\';
      escaped += c;
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string format_labels(const Labels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    fmt::format_to(std::back_inserter(text), "{}{}=\"{}\"", text.empty() ? "" : ",", name,
                   escape(value, /*quoted=*/true));
  }
  return text;
}

/// "0.3", "1.0", "1e+06": the spelling of Prometheus' Python client, and so of vLLM. A bound is a
/// label, and queries compare labels as text.
std::string format_bound(double bound) {
  constexpr double kScientificFrom = 1e6;
  if (bound >= kScientificFrom) {
    char digits[32];
    const auto end =
        std::to_chars(std::begin(digits), std::end(digits), bound, std::chars_format::scientific);
    return {digits, end.ptr};
  }
  std::string text = fmt::format("{}", bound);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

void write_head(std::string_view name, std::string_view help, std::string_view type,
                std::string& text) {
  fmt::format_to(std::back_inserter(text), "# HELP {} {}\n# TYPE {} {}\n", name,
                 escape(help, /*quoted=*/false), name, type);
}

template <class Value>
void write_sample(std::string_view name, std::string_view labels, Value value, std::string& text) {
  const auto out = std::back_inserter(text);
  if (labels.empty()) {
    fmt::format_to(out, "{} {}\n", name, value);
  } else {
    fmt::format_to(out, "{}{{{}}} {}\n", name, labels, value);
  }
}

void write_histogram(std::string_view name, const std::string& labels, const Histogram& histogram,
                     std::string& text) {
  const double sum = histogram.sum();
  const std::vector<uint64_t> counts = histogram.counts();
  const std::vector<double>& bounds = histogram.bounds();
  const std::string bucket = fmt::format("{}_bucket", name);
  uint64_t cumulated = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    cumulated += counts[i];
    const std::string bound = i < bounds.size() ? format_bound(bounds[i]) : "+Inf";
    write_sample(bucket, fmt::format("{}{}le=\"{}\"", labels, labels.empty() ? "" : ",", bound),
                 cumulated, text);
  }
  write_sample(fmt::format("{}_sum", name), labels, sum, text);
  write_sample(fmt::format("{}_count", name), labels, cumulated, text);
}

}  // namespace

Histogram::Histogram(std::span<const double> bounds)
    : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}

void Histogram::observe(double value) {
  const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

std::vector<uint64_t> Histogram::counts() const {
  std::vector<uint64_t> counts;
  counts.reserve(counts_.size());
  for (const std::atomic<uint64_t>& count : counts_)
    counts.push_back(count.load(std::memory_order_relaxed));
  return counts;
}

template <class Metric>
Registry::Family<Metric>& Registry::find_or_add_family(std::string_view name,
                                                       std::string_view help) {
  for (auto& family : families_) {
    auto* found = std::get_if<Family<Metric>>(&family);
    if (found != nullptr && found->name == name) return *found;
  }
  auto& added = families_.emplace_back(
      Family<Metric>{.name = std::string(name), .help = std::string(help), .series = {}});
  return *std::get_if<Family<Metric>>(&added);
}

template <class Metric, class... Args>
Metric& Registry::find_or_add(std::string_view name, std::string_view help, const Labels& labels,
                              Args&&... args) {
  std::string label_text = format_labels(labels);
  const std::scoped_lock lock(mutex_);
  Family<Metric>& family = find_or_add_family<Metric>(name, help);
  const auto found = std::ranges::find(family.series, label_text, &Series<Metric>::labels);
  if (found != family.series.end()) return found->metric;
  return family.series.emplace_back(std::move(label_text), std::forward<Args>(args)...).metric;
}

Counter& Registry::counter(std::string_view name, std::string_view help, const Labels& labels) {
  return find_or_add<Counter>(name, help, labels);
}

Gauge& Registry::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  return find_or_add<Gauge>(name, help, labels);
}

Histogram& Registry::histogram(std::string_view name, std::string_view help,
                               std::span<const double> bounds, const Labels& labels) {
  return find_or_add<Histogram>(name, help, labels, bounds);
}

void Registry::write(const Family<Counter>& family, std::string& text) {
  const std::string name = family.name + "_total";
  write_head(name, family.help, "counter", text);
  for (const auto& [labels, counter] : family.series)
    write_sample(name, labels, counter.value(), text);
}

void Registry::write(const Family<Gauge>& family, std::string& text) {
  write_head(family.name, family.help, "gauge", text);
  for (const auto& [labels, gauge] : family.series)
    write_sample(family.name, labels, gauge.value(), text);
}

void Registry::write(const Family<Histogram>& family, std::string& text) {
  write_head(family.name, family.help, "histogram", text);
  for (const auto& [labels, histogram] : family.series)
    write_histogram(family.name, labels, histogram, text);
}

std::string Registry::text() const {
  std::string text;
  const std::scoped_lock lock(mutex_);
  for (const auto& any : families_)
    std::visit([&text](const auto& family) { write(family, text); }, any);
  return text;
}

}  // namespace tetrad::metrics
