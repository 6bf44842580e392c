#include "bench/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/progress_line.h"

namespace tetrad::bench {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr double kRounding = 1e-9;

TEST(Statistics, AreNumpys) {
  // numpy: x = [10, 1, 4, 2, 3]; x.mean(), median(x), x.std(), percentile(x, [50, 90, 95, 99])
  const auto values = distribution_of({10, 1, 4, 2, 3});
  ASSERT_TRUE(values);
  EXPECT_NEAR(values->mean, 4, kRounding);
  EXPECT_NEAR(values->median, 3, kRounding);
  EXPECT_NEAR(values->std, 3.1622776601683795, kRounding);
  EXPECT_NEAR(values->percentiles[0], 3, kRounding);
  EXPECT_NEAR(values->percentiles[1], 7.6, kRounding);
  EXPECT_NEAR(values->percentiles[2], 8.8, kRounding);
  EXPECT_NEAR(values->percentiles[3], 9.76, kRounding);
}

TEST(Statistics, OfFewValues) {
  EXPECT_FALSE(distribution_of({}));
  const auto one = distribution_of({7});
  EXPECT_EQ(one->mean, 7);
  EXPECT_EQ(one->std, 0);
  EXPECT_EQ(one->percentiles[3], 7);
  const auto two = distribution_of({2, 1});
  EXPECT_NEAR(two->median, 1.5, kRounding);
  EXPECT_NEAR(two->percentiles[3], 1.99, kRounding);
}

RequestRecord completed(double ttft, double e2el, int64_t input, int64_t output,
                        std::optional<int64_t> cached = std::nullopt) {
  return {.outcome = Outcome::completed,
          .ttft = Seconds(ttft),
          .e2el = Seconds(e2el),
          .usage = {.prompt_tokens = input, .completion_tokens = output, .cached_tokens = cached}};
}

/// Two answers in two seconds, a failure, a disconnect.
RunResult sample_run() {
  RunResult run;
  run.records = {completed(0.1, 0.5, 100, 5, 64), completed(0.3, 1.3, 50, 11, 32)};
  run.records[0].itls = {Seconds(0.1), Seconds(0.3)};
  run.records[1].itls = {Seconds(0.2)};
  run.records.push_back({.outcome = Outcome::failed, .error = "first"});
  run.records.push_back({.outcome = Outcome::failed, .error = "second"});
  run.records.push_back({.outcome = Outcome::disconnected, .ttft = Seconds(9)});
  run.duration = Seconds(2);
  run.peak_concurrency = 3;
  return run;
}

TEST(Report, HasVllmsFields) {
  const Summary summary = summarise(sample_run(), {}, {});
  const json::object report = report_json(summary);
  EXPECT_EQ(report.at("duration"), 2.0);
  EXPECT_EQ(report.at("completed"), 2);
  EXPECT_EQ(report.at("failed"), 2);
  EXPECT_EQ(report.at("disconnected"), 1);
  EXPECT_EQ(report.at("total_input_tokens"), 150);
  EXPECT_EQ(report.at("total_output_tokens"), 16);
  EXPECT_EQ(report.at("request_throughput"), 1.0);
  EXPECT_EQ(report.at("output_throughput"), 8.0);
  EXPECT_EQ(report.at("total_token_throughput"), 83.0);
  EXPECT_EQ(report.at("max_concurrent_requests"), 3);
  EXPECT_TRUE(report.at("request_goodput").is_null());
  EXPECT_NEAR(report.at("mean_ttft_ms").as_double(), 200, kRounding);
  EXPECT_NEAR(report.at("median_ttft_ms").as_double(), 200, kRounding);
  EXPECT_NEAR(report.at("std_ttft_ms").as_double(), 100, kRounding);
  EXPECT_NEAR(report.at("p99_ttft_ms").as_double(), 298, kRounding);
  EXPECT_NEAR(report.at("mean_tpot_ms").as_double(), 100, kRounding);  // 400 / 4 and 1000 / 10
  EXPECT_NEAR(report.at("mean_itl_ms").as_double(), 200, kRounding);
  EXPECT_NEAR(report.at("p90_itl_ms").as_double(), 280, kRounding);
  EXPECT_NEAR(report.at("p50_e2el_ms").as_double(), 900, kRounding);
  for (const char* metric : {"ttft", "tpot", "itl", "e2el"}) {
    for (const char* statistic : {"mean", "median", "std", "p50", "p90", "p95", "p99"})
      EXPECT_TRUE(report.contains(fmt::format("{}_{}_ms", statistic, metric)));
  }
}

TEST(Report, GoodputNeedsEveryLimitMet) {
  const auto goodput = [](const std::vector<std::string>& words) {
    const auto level = parse_service_level(words);
    EXPECT_TRUE(level);
    return summarise(sample_run(), *level, {}).request_goodput;
  };
  EXPECT_EQ(goodput({"ttft:100"}), 0.5);
  EXPECT_EQ(goodput({"ttft:300", "e2el:1300"}), 1.0);
  EXPECT_EQ(goodput({"ttft:300", "e2el:1299"}), 0.5);
  EXPECT_EQ(goodput({"tpot:99"}), 0.0);
  EXPECT_EQ(goodput({}), std::nullopt);
}

TEST(Report, RefusesUnknownServiceLevels) {
  for (const char* word : {"", "ttft", "ttft:", "ttft:x", "ttft:5s", "itl:5", "ttft:-1", ":5",
                           "ttft:inf", "ttft:nan"}) {
    const auto level = parse_service_level({word});
    ASSERT_FALSE(level) << word;
    EXPECT_EQ(level.error().param, "--goodput");
  }
  EXPECT_FALSE(parse_service_level({"ttft:1", "ttft:2"}));
}

TEST(Report, WhatIsUnknownIsNotMadeUp) {
  RunResult run = sample_run();
  for (RequestRecord& record : run.records)
    record.usage.cached_tokens.reset();
  const Summary summary = summarise(run, {}, {});
  const json::object report = report_json(summary);
  for (const char* field : {"prefix_cache_hit_rate", "kv_cache_bytes", "kv_cache_tokens",
                            "max_full_length_requests", "total_cached_tokens"})
    EXPECT_TRUE(report.at(field).is_null()) << field;
  EXPECT_THAT(report_text(summary), HasSubstr("n/a"));
  const json::object nothing = report_json(summarise({}, {}, {}));
  EXPECT_TRUE(nothing.at("mean_ttft_ms").is_null());
  EXPECT_TRUE(nothing.at("request_throughput").is_null());
  EXPECT_EQ(nothing.at("completed"), 0);
}

constexpr const char* kPage =
    R"(# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="fp8_e4m3",num_gpu_blocks="47991"} 1.0
vllm:prefix_cache_queries_total{engine="0",model_name="a \"b\"\\,}"} 1.5e+03
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 500 1700000000000
vllm:prefix_cache_hits_total{engine="0"} 900
vllm:prefix_cache_hits_total{engine="1"} 100
tetrad:kv_cache_bytes 12187002060
tetrad:max_model_len{model_name="m"} 180000
vllm:broken{engine="0 3
nonsense
vllm:e2e_request_latency_seconds_bucket{le="+Inf"} 7
)";

TEST(MetricsPage, IsRead) {
  const ServerMetrics metrics = read_server_metrics(kPage);
  EXPECT_EQ(metrics.prefix_cache_queries, 2000);
  EXPECT_EQ(metrics.prefix_cache_hits, 1000);
  EXPECT_EQ(metrics.kv_cache_bytes, 12187002060.0);
  EXPECT_EQ(metrics.kv_cache_tokens, 767856);
  EXPECT_EQ(metrics.max_model_len, 180000);
  const auto samples = parse_metrics(kPage);
  ASSERT_EQ(samples.size(), 8U);
  EXPECT_EQ(samples[1].label("model_name"), "a \"b\"\\,}");
  EXPECT_EQ(samples[7].label("le"), "+Inf");
}

TEST(MetricsPage, OfAServerThatSaysLess) {
  const ServerMetrics metrics = read_server_metrics(
      "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1\n"
      "vllm:prefix_cache_hits_total NaN\ntetrad:max_model_len +Inf\n<html>\n");
  EXPECT_FALSE(metrics.kv_cache_tokens);
  EXPECT_FALSE(metrics.prefix_cache_hits);
  EXPECT_FALSE(metrics.prefix_cache_queries);
  EXPECT_FALSE(metrics.max_model_len);
}

TEST(Report, HasTheTableOfAModelCard) {
  ServerFacts facts;
  facts.before = {.prefix_cache_queries = 1000, .prefix_cache_hits = 900};
  facts.after = read_server_metrics(kPage);
  const Summary summary = summarise(sample_run(), {}, facts);
  const json::object report = report_json(summary);
  EXPECT_EQ(report.at("generation_throughput"), 8.0);
  EXPECT_EQ(report.at("prefill_throughput"), 75.0);
  EXPECT_NEAR(report.at("prefix_cache_hit_rate").as_double(), 0.1, kRounding);
  EXPECT_EQ(report.at("kv_cache_tokens"), 767856);
  EXPECT_NEAR(report.at("max_full_length_requests").as_double(), 767856.0 / 180000, kRounding);
  const std::string text = report_text(summary);
  for (const char* figure : {"11.35", "767856", "4.27", "10.00", "The first failure: first"})
    EXPECT_THAT(text, HasSubstr(figure));
  EXPECT_THAT(text, Not(HasSubstr("second")));
}

TEST(Report, TakesTheHitRateFromTheAnswersWithoutMetrics) {
  const Summary summary = summarise(sample_run(), {}, {});
  EXPECT_EQ(summary.total_cached_tokens, 96);
  EXPECT_NEAR(*summary.prefix_cache_hit_rate, 96.0 / 150, kRounding);
}

TEST(Report, DetailsHaveOneElementARequest) {
  RunResult run = sample_run();
  run.texts = {"a", "b", "", "", "c"};
  const json::object details = detailed_json(run);
  for (const char* field :
       {"input_lens", "output_lens", "ttfts", "itls", "start_times", "generated_texts", "errors"})
    EXPECT_EQ(details.at(field).as_array().size(), 5U) << field;
  EXPECT_EQ(details.at("itls").at(0).at(1), 0.3);
  EXPECT_EQ(details.at("errors").at(2), "first");
}

TEST(ProgressLine, ShowsHowFarItIs) {
  const Progress progress{
      .completed = 4, .failed = 1, .running = 2, .output_events = 30, .elapsed = Seconds(10)};
  EXPECT_EQ(progress_line(progress, {.num_requests = 10}, 64),
            "[########........] 5/10, 2 running, 1 failed, 3.0 events/s, 10 s");
  EXPECT_THAT(progress_line(progress, {.duration = Seconds(10)}, 200),
              HasSubstr("[" + std::string(40, '#') + "] 5, 2 running"));
  EXPECT_LE(progress_line(progress, {.num_requests = 10}, 30).size(), 30U);
  EXPECT_EQ(progress_line({}, {.num_requests = 0}, 0), "");
}

}  // namespace
}  // namespace tetrad::bench
