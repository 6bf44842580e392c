#include "engine/engine_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/observer_list.h"

// What each report counts as, by hand. Names, labels and bounds are compared with vLLM's by
// tests/metrics.

namespace tetrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class EngineMetricsTest : public testing::Test {
 protected:
  /// The value of vllm:<name>{model_name="m",engine="0"<labels>}, or of another prefix's.
  double value(const std::string& name, const std::string& labels = "") const {
    const std::string prefix = name.find(':') == std::string::npos ? "vllm:" : "";
    const std::string start =
        "\n" + prefix + name + "{model_name=\"m\",engine=\"0\"" + labels + "} ";
    const std::string text = registry_.text();
    const size_t at = text.find(start);
    EXPECT_NE(at, std::string::npos) << start;
    return at == std::string::npos ? -1 : std::stod(text.substr(at + start.size()));
  }

  metrics::Registry registry_;
  EngineMetrics metrics_{registry_,
                         {.model_name = "m", .max_model_len = 1000, .num_speculative_tokens = 3}};
};

TEST_F(EngineMetricsTest, EverySourceOfPromptTokensIsCountedOnce) {
  // 100 tokens of prompt, 60 of them cached; then a preemption, after which 70 are computed again,
  // 16 of which had been generated.
  metrics_.on_step({.num_batched_tokens = 40,
                    .num_prompt_tokens = 40,
                    .num_generated_tokens = 1,
                    .prefix_cache_queries = 100,
                    .prefix_cache_hits = 60});
  metrics_.on_step({.num_batched_tokens = 75,
                    .num_prompt_tokens = 70,
                    .num_recomputed_tokens = 70,
                    .num_generated_tokens = 6,
                    .num_preemptions = 1,
                    .duration = Seconds(0.5)});
  EXPECT_EQ(value("prompt_tokens_total"), 100);
  EXPECT_EQ(value("prompt_tokens_cached_total"), 60);
  EXPECT_EQ(value("prompt_tokens_by_source_total", ",source=\"local_compute\""), 40);
  EXPECT_EQ(value("prompt_tokens_by_source_total", ",source=\"local_cache_hit\""), 60);
  EXPECT_EQ(value("prefix_cache_queries_total"), 100);
  EXPECT_EQ(value("prefix_cache_hits_total"), 60);
  EXPECT_EQ(value("generation_tokens_total"), 7);
  EXPECT_EQ(value("num_preemptions_total"), 1);
  EXPECT_EQ(value("tetrad:recomputed_tokens_total"), 70);
  EXPECT_EQ(value("iteration_tokens_total_count"), 2);
  EXPECT_EQ(value("iteration_tokens_total_sum"), 115);
  EXPECT_EQ(value("tetrad:step_duration_seconds_sum"), 0.5);
}

TEST_F(EngineMetricsTest, GaugesAreTheLastStepsUntilTheLoadIsSet) {
  metrics_.on_step(
      {.num_running = 3, .num_waiting = 2, .num_kv_blocks = 40, .num_free_kv_blocks = 10});
  EXPECT_EQ(value("num_requests_running"), 3);
  EXPECT_EQ(value("num_requests_waiting"), 2);
  EXPECT_EQ(value("num_requests_waiting_by_reason", ",reason=\"capacity\""), 2);
  EXPECT_EQ(value("num_requests_waiting_by_reason", ",reason=\"deferred\""), 0);
  EXPECT_EQ(value("kv_cache_usage_perc"), 0.75);
  metrics_.set_load(0, 1, 40, 40);
  EXPECT_EQ(value("num_requests_running"), 0);
  EXPECT_EQ(value("num_requests_waiting"), 1);
  EXPECT_EQ(value("kv_cache_usage_perc"), 0);
}

RequestReport finished_request() {
  return {.finish_reason = FinishReason::length,
          .num_prompt_tokens = 100,
          .num_cached_tokens = 48,
          .num_generated_tokens = 5,
          .max_tokens = 8,
          .num_preemptions = 2,
          .arrived = Seconds(10),
          .admitted = Seconds(11),
          .first_token = Seconds(13),
          .last_token = Seconds(17),
          .finished = Seconds(18)};
}

TEST_F(EngineMetricsTest, AFinishedRequestIsMeasuredPhaseByPhase) {
  metrics_.on_finish(finished_request());
  EXPECT_EQ(value("request_success_total", ",finished_reason=\"length\""), 1);
  EXPECT_EQ(value("request_queue_time_seconds_sum"), 1);
  EXPECT_EQ(value("request_prefill_time_seconds_sum"), 2);
  EXPECT_EQ(value("request_decode_time_seconds_sum"), 4);
  EXPECT_EQ(value("request_inference_time_seconds_sum"), 6);
  EXPECT_EQ(value("e2e_request_latency_seconds_sum"), 8);
  EXPECT_EQ(value("request_time_per_output_token_seconds_sum"), 1);
  EXPECT_EQ(value("request_prompt_tokens_sum"), 100);
  EXPECT_EQ(value("request_prefill_kv_computed_tokens_sum"), 52);
  EXPECT_EQ(value("request_generation_tokens_sum"), 5);
  EXPECT_EQ(value("request_max_num_generation_tokens_sum"), 5);
  EXPECT_EQ(value("request_params_max_tokens_sum"), 8);
  EXPECT_EQ(value("request_num_preemptions_sum"), 2);
}

TEST_F(EngineMetricsTest, OneTokenHasNoTimePerFurtherToken) {
  RequestReport report = finished_request();
  report.num_generated_tokens = 1;
  metrics_.on_finish(report);
  EXPECT_EQ(value("request_time_per_output_token_seconds_count"), 0);
  EXPECT_EQ(value("request_generation_tokens_count"), 1);
}

TEST_F(EngineMetricsTest, BrokenOffRequestsOnlyCount) {
  RequestReport report = finished_request();
  report.finish_reason = FinishReason::cancelled;
  metrics_.on_finish(report);
  report.finish_reason = FinishReason::error;
  report.has_nan_logits = true;
  metrics_.on_finish(report);
  EXPECT_EQ(value("request_success_total", ",finished_reason=\"abort\""), 1);
  EXPECT_EQ(value("request_success_total", ",finished_reason=\"error\""), 1);
  EXPECT_EQ(value("request_success_total", ",finished_reason=\"stop\""), 0);
  EXPECT_EQ(value("corrupted_requests_total"), 1);
  EXPECT_EQ(value("e2e_request_latency_seconds_count"), 0);
  EXPECT_EQ(value("request_prompt_tokens_count"), 0);
}

TEST_F(EngineMetricsTest, RefusedRequestsCount) {
  metrics_.on_queue_full();
  EXPECT_EQ(value("admission_rejections_total", ",reason=\"max_num_queued_reqs\""), 1);
}

TEST_F(EngineMetricsTest, DraftsCountByPlace) {
  metrics_.on_draft(3, 2);
  metrics_.on_draft(3, 0);
  metrics_.on_draft(1, 1);
  EXPECT_EQ(value("spec_decode_num_drafts_total"), 3);
  EXPECT_EQ(value("spec_decode_num_draft_tokens_total"), 7);
  EXPECT_EQ(value("spec_decode_num_accepted_tokens_total"), 3);
  const std::string name = "spec_decode_num_accepted_tokens_per_pos_total";
  EXPECT_EQ(value(name, ",position=\"0\""), 2);
  EXPECT_EQ(value(name, ",position=\"1\""), 1);
  EXPECT_EQ(value(name, ",position=\"2\""), 0);
}

TEST_F(EngineMetricsTest, AStepsTokensOfOneRequestAreOneInterval) {
  metrics_.on_tokens(Seconds(0.25), 4);
  EXPECT_EQ(value("inter_token_latency_seconds_count"), 1);
  EXPECT_EQ(value("inter_token_latency_seconds_sum"), 0.25);
}

TEST_F(EngineMetricsTest, WhatIsNotAskedForIsNotThere) {
  EXPECT_THAT(registry_.text(), Not(HasSubstr("gpu_")));
  metrics::Registry plain;
  EngineMetrics metrics(plain, {.model_name = "m", .max_model_len = 10});
  metrics.on_draft(3, 2);  // and nothing comes of it
  EXPECT_THAT(plain.text(), Not(HasSubstr("spec_decode")));
}

TEST_F(EngineMetricsTest, FactsOfTheCacheAreLabels) {
  metrics_.describe({.max_model_len = 1000,
                     .block_size = 16,
                     .num_kv_blocks = 99,
                     .kv_cache_bytes = 1 << 20,
                     .kv_cache_dtype = "bfloat16",
                     .enable_prefix_caching = true});
  EXPECT_THAT(registry_.text(),
              HasSubstr("vllm:cache_config_info{engine=\"0\",block_size=\"16\",num_gpu_blocks="
                        "\"99\",cache_dtype=\"bfloat16\",enable_prefix_caching=\"True\"} 1\n"));
  EXPECT_EQ(value("tetrad:kv_cache_bytes"), 1 << 20);
  EXPECT_EQ(value("tetrad:max_model_len"), 1000);
}

TEST(OneTwoFiveBounds, EndAtTheLimit) {
  EXPECT_THAT(one_two_five_bounds(0), ElementsAre());
  EXPECT_THAT(one_two_five_bounds(1), ElementsAre(1));
  EXPECT_THAT(one_two_five_bounds(49), ElementsAre(1, 2, 5, 10, 20));
  EXPECT_THAT(one_two_five_bounds(100), ElementsAre(1, 2, 5, 10, 20, 50, 100));
  EXPECT_EQ(one_two_five_bounds(180000).back(), 100000);
}

TEST(ObserverList, TellsAllOfThem) {
  metrics::Registry registries[2];
  const EngineMetricsOptions options{
      .model_name = "m", .max_model_len = 100, .num_speculative_tokens = 2};
  ObserverList list({std::make_shared<EngineMetrics>(registries[0], options),
                     std::make_shared<EngineMetrics>(registries[1], options)});
  EngineObserver& observer = list;
  const std::string before = registries[0].text();
  observer.on_step({.num_running = 1, .num_generated_tokens = 1});
  observer.on_first_token(Seconds(1));
  observer.on_tokens(Seconds(1), 1);
  observer.on_draft(2, 1);
  observer.on_finish(finished_request());
  observer.on_queue_full();
  EXPECT_EQ(registries[0].text(), registries[1].text());
  for (const char* name : {"generation_tokens_total", "time_to_first_token_seconds_count",
                           "inter_token_latency_seconds_count", "spec_decode_num_drafts_total",
                           "request_prompt_tokens_count"}) {
    const std::string line = std::string("vllm:") + name + "{model_name=\"m\",engine=\"0\"} ";
    EXPECT_THAT(before, HasSubstr(line + "0\n"));
    EXPECT_THAT(registries[1].text(), HasSubstr(line + "1\n"));
  }
  EXPECT_THAT(registries[1].text(), HasSubstr("reason=\"max_num_queued_reqs\"} 1\n"));
}

}  // namespace
}  // namespace tetrad
