#include "base/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

// Text and buckets by hand; tests/metrics has Prometheus' own client as the oracle of the whole.

namespace tetrad::metrics {
namespace {

using testing::ElementsAre;

TEST(Counter, NeverFalls) {
  Counter counter;
  counter.add();
  counter.add(41);
  counter.add(0);
  counter.add(-7);
  EXPECT_EQ(counter.value(), 42u);
}

TEST(Histogram, ABoundBelongsToItsBucket) {
  constexpr double kBounds[] = {0.1, 1, 10};
  Histogram histogram(kBounds);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double value : {-1.0, 0.0, 0.1})
    histogram.observe(value);
  histogram.observe(std::nextafter(0.1, kInfinity));
  histogram.observe(1);
  histogram.observe(10);
  histogram.observe(std::nextafter(10.0, kInfinity));
  histogram.observe(1e300);
  EXPECT_THAT(histogram.counts(), ElementsAre(3, 2, 1, 2));
}

TEST(Histogram, WithoutBoundsCountsAll) {
  Histogram histogram({});
  histogram.observe(3);
  histogram.observe(4);
  EXPECT_THAT(histogram.counts(), ElementsAre(2));
  EXPECT_EQ(histogram.sum(), 7);
}

TEST(Registry, WritesEveryKind) {
  Registry registry;
  registry.counter("requests", "Requests.", {{"code", "200"}}).add(3);
  registry.gauge("temperature", "Degrees.").set(-1.5);
  registry.counter("requests", "Requests.", {{"code", "404"}}).add();
  constexpr double kBounds[] = {0.25, 1, 2e6};
  Histogram& sizes = registry.histogram("sizes", "Sizes.", kBounds, {{"unit", "m"}});
  sizes.observe(0.5);
  sizes.observe(1.5);
  sizes.observe(3e6);
  EXPECT_EQ(registry.text(),
            "# HELP requests_total Requests.\n"
            "# TYPE requests_total counter\n"
            "requests_total{code=\"200\"} 3\n"
            "requests_total{code=\"404\"} 1\n"
            "# HELP temperature Degrees.\n"
            "# TYPE temperature gauge\n"
            "temperature -1.5\n"
            "# HELP sizes Sizes.\n"
            "# TYPE sizes histogram\n"
            "sizes_bucket{unit=\"m\",le=\"0.25\"} 0\n"
            "sizes_bucket{unit=\"m\",le=\"1.0\"} 1\n"
            "sizes_bucket{unit=\"m\",le=\"2e+06\"} 2\n"
            "sizes_bucket{unit=\"m\",le=\"+Inf\"} 3\n"
            "sizes_sum{unit=\"m\"} 3000002\n"
            "sizes_count{unit=\"m\"} 3\n");
}

TEST(Registry, EscapesWhatWouldEndTheText) {
  Registry registry;
  registry.gauge("g", "back\\slash, \"quote\"\nand line", {{"name", "back\\slash, \"quote\"\nä"}});
  EXPECT_EQ(registry.text(),
            "# HELP g back\\\\slash, \"quote\"\\nand line\n"
            "# TYPE g gauge\n"
            "g{name=\"back\\\\slash, \\\"quote\\\"\\nä\"} 0\n");
}

TEST(Registry, FindsWhatWasAddedBefore) {
  Registry registry;
  Counter& first = registry.counter("c", "C.", {{"a", "1"}});
  for (int i = 0; i < 1000; ++i)
    registry.counter("c", "C.", {{"a", std::to_string(i)}});
  EXPECT_EQ(&registry.counter("c", "C.", {{"a", "1"}}), &first);
  EXPECT_NE(&registry.counter("c", "C.", {{"a", "2"}}), &first);
}

/// The number behind `name` and a space.
uint64_t sample(const std::string& text, const std::string& name) {
  const size_t at = text.find("\n" + name + " ");
  return at == std::string::npos ? 0 : std::stoull(text.substr(at + name.size() + 2));
}

TEST(Registry, ManyThreadsLoseNothing) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 5000;
  constexpr double kBounds[] = {1, 2};
  Registry registry;
  const auto work = [&registry, &kBounds] {
    for (int i = 0; i < kRounds; ++i) {
      registry.counter("c", "C.").add();
      registry.histogram("h", "H.", kBounds).observe(i % 4);
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back(work);
  // A scrape in between sees counters that only rise, and histograms that agree with themselves.
  uint64_t last = 0;
  for (int i = 0; i < 50; ++i) {
    const std::string text = registry.text();
    const uint64_t now = sample(text, "c_total");
    EXPECT_GE(now, last);
    last = now;
    EXPECT_EQ(sample(text, "h_bucket{le=\"+Inf\"}"), sample(text, "h_count"));
  }
  for (std::thread& thread : threads)
    thread.join();
  const std::string text = registry.text();
  EXPECT_EQ(sample(text, "c_total"), uint64_t{kThreads} * kRounds);
  EXPECT_EQ(sample(text, "h_count"), uint64_t{kThreads} * kRounds);
  EXPECT_EQ(sample(text, "h_bucket{le=\"1.0\"}"), uint64_t{kThreads} * kRounds / 2);
  EXPECT_EQ(sample(text, "h_sum"), uint64_t{kThreads} * kRounds * 3 / 2);
}

}  // namespace
}  // namespace tetrad::metrics
