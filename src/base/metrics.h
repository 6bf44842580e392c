#pragma once

// Counters, gauges and histograms, and their text for Prometheus. A metric is found in its registry
// once and kept by reference; from then on changing it is one or two atomic operations without a
// lock, on any thread.

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tetrad::metrics {

/// A number that only grows.
class Counter {
 public:
  /// Counts that are not positive change nothing.
  void add(int64_t count = 1) {
    if (count > 0) value_.fetch_add(static_cast<uint64_t>(count), std::memory_order_relaxed);
  }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

/// A number that rises and falls.
class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

/// How often values fell below each of a fixed list of bounds.
class Histogram {
 public:
  /// `bounds` rise. A bound belongs to its bucket; what exceeds the last is counted all the same.
  explicit Histogram(std::span<const double> bounds);

  void observe(double value);

  const std::vector<double>& bounds() const { return bounds_; }
  /// The number of values in each bucket, not cumulated; the last holds those beyond all bounds.
  std::vector<uint64_t> counts() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::vector<double> bounds_;
  std::vector<std::atomic<uint64_t>> counts_;  // bounds_.size() + 1
  std::atomic<double> sum_{0};
};

/// {{"model_name", "M2"}, {"engine", "0"}}
using Labels = std::vector<std::pair<std::string, std::string>>;

/// Owns metrics. Thread-safe.
class Registry {
 public:
  /// The metric of that name with these labels; added, with the others of its name, if it is new.
  /// A name stands for one kind of metric, and a histogram's for one list of bounds. A counter's is
  /// given without the "_total" that the text adds.
  Counter& counter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                       const Labels& labels = {});

  /// All metrics in Prometheus' text format 0.0.4, in the order in which they were added. Metrics
  /// change while it is written, but each histogram's buckets and count agree with each other.
  std::string text() const;
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  template <class Metric>
  struct Series {
    template <class... Args>
    explicit Series(std::string label_text, Args&&... args)
        : labels(std::move(label_text)), metric(std::forward<Args>(args)...) {}

    std::string labels;  // as in the text, without braces
    Metric metric;
  };

  /// The metrics of one name. A deque, because references to its elements last.
  template <class Metric>
  struct Family {
    std::string name;
    std::string help;
    std::deque<Series<Metric>> series;
  };

  template <class Metric, class... Args>
  Metric& find_or_add(std::string_view name, std::string_view help, const Labels& labels,
                      Args&&... args);
  template <class Metric>
  Family<Metric>& find_or_add_family(std::string_view name, std::string_view help);

  static void write(const Family<Counter>& family, std::string& text);
  static void write(const Family<Gauge>& family, std::string& text);
  static void write(const Family<Histogram>& family, std::string& text);

  mutable std::mutex mutex_;  // guards the lists, not the values
  std::deque<std::variant<Family<Counter>, Family<Gauge>, Family<Histogram>>> families_;
};

}  // namespace tetrad::metrics
