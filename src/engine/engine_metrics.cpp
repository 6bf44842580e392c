#include "engine/engine_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string_view>

namespace tetrad {
namespace {

using metrics::Counter;
using metrics::Gauge;
using metrics::Histogram;
using metrics::Labels;

// vLLM's bounds.
constexpr double kFirstTokenBounds[] = {0.001, 0.005, 0.01, 0.02,  0.04,  0.06,  0.08, 0.1,
                                        0.25,  0.5,   0.75, 1.0,   2.5,   5.0,   7.5,  10.0,
                                        20.0,  40.0,  80.0, 160.0, 640.0, 2560.0};
constexpr double kTokenBounds[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                   0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
constexpr double kRequestBounds[] = {0.3,  0.5,   0.8,   1.0,   1.5,   2.0,    2.5,
                                     5.0,  10.0,  15.0,  20.0,  30.0,  40.0,   50.0,
                                     60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
constexpr double kStepTokenBounds[] = {1,   8,    16,   32,   64,   128,  256,
                                       512, 1024, 2048, 4096, 8192, 16384};
constexpr double kPreemptionBounds[] = {1, 2, 3, 4, 5, 10, 20};
// Ours: a small model's step takes less than a millisecond, a long prefill's seconds.
constexpr double kStepSecondsBounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                         0.25,   0.5,   1.0,    2.5,   5.0,  10.0,  30.0, 60.0};

Labels with(Labels labels, std::string_view name, std::string_view value) {
  labels.emplace_back(name, value);
  return labels;
}

/// Adds metrics that all carry the same labels.
struct Adder {
  metrics::Registry& registry;
  const Labels& labels;

  Counter& counter(std::string_view name, std::string_view help) const {
    return registry.counter(name, help, labels);
  }
  Counter& counter(std::string_view name, std::string_view help, std::string_view label,
                   std::string_view value) const {
    return registry.counter(name, help, with(labels, label, value));
  }
  Gauge& gauge(std::string_view name, std::string_view help) const {
    return registry.gauge(name, help, labels);
  }
  Gauge& gauge(std::string_view name, std::string_view help, std::string_view label,
               std::string_view value) const {
    return registry.gauge(name, help, with(labels, label, value));
  }
  Histogram& histogram(std::string_view name, std::string_view help,
                       std::span<const double> bounds) const {
    return registry.histogram(name, help, bounds, labels);
  }
};

constexpr std::string_view kWaitingByReason = "vllm:num_requests_waiting_by_reason";
constexpr std::string_view kWaitingByReasonHelp = "Requests that wait, by what they wait for.";
constexpr std::string_view kTokensBySource = "vllm:prompt_tokens_by_source";
constexpr std::string_view kTokensBySourceHelp =
    "Prompt tokens, by where their keys and values came from.";
constexpr std::string_view kSuccess = "vllm:request_success";
constexpr std::string_view kSuccessHelp = "Finished requests, by how they ended.";

}  // namespace

struct EngineMetrics::Load {
  explicit Load(const Adder& add)
      : running(add.gauge("vllm:num_requests_running", "Requests that are being computed.")),
        waiting(add.gauge("vllm:num_requests_waiting", "Requests in the queue.")),
        waiting_for_capacity(
            add.gauge(kWaitingByReason, kWaitingByReasonHelp, "reason", "capacity")),
        // Nothing here waits for anything but a place and blocks.
        waiting_deferred(add.gauge(kWaitingByReason, kWaitingByReasonHelp, "reason", "deferred")),
        kv_cache_usage(add.gauge("vllm:kv_cache_usage_perc",
                                 "Share of the KV cache's blocks that requests hold, 0 to 1.")) {}

  Gauge& running;
  Gauge& waiting;
  Gauge& waiting_for_capacity;
  Gauge& waiting_deferred;
  Gauge& kv_cache_usage;
};

struct EngineMetrics::Steps {
  explicit Steps(const Adder& add)
      : prompt_tokens(add.counter("vllm:prompt_tokens",
                                  "Prompt tokens processed, those found in the cache included.")),
        prompt_tokens_cached(add.counter("vllm:prompt_tokens_cached",
                                         "Prompt tokens whose keys and values were in the cache.")),
        prompt_tokens_computed(
            add.counter(kTokensBySource, kTokensBySourceHelp, "source", "local_compute")),
        prompt_tokens_hit(
            add.counter(kTokensBySource, kTokensBySourceHelp, "source", "local_cache_hit")),
        generation_tokens(add.counter("vllm:generation_tokens", "Tokens generated.")),
        prefix_cache_queries(add.counter("vllm:prefix_cache_queries",
                                         "Prompt tokens looked up in the prefix cache.")),
        prefix_cache_hits(
            add.counter("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.")),
        preemptions(add.counter("vllm:num_preemptions",
                                "Times that a request lost its blocks to another.")),
        tokens(add.histogram("vllm:iteration_tokens_total", "Tokens computed in one step.",
                             kStepTokenBounds)),
        seconds(add.histogram("tetrad:step_duration_seconds", "Time that one step took.",
                              kStepSecondsBounds)),
        recomputed_tokens(add.counter("tetrad:recomputed_tokens",
                                      "Prompt tokens computed again after a preemption.")) {}

  Counter& prompt_tokens;
  Counter& prompt_tokens_cached;
  Counter& prompt_tokens_computed;
  Counter& prompt_tokens_hit;
  Counter& generation_tokens;
  Counter& prefix_cache_queries;
  Counter& prefix_cache_hits;
  Counter& preemptions;
  Histogram& tokens;
  Histogram& seconds;
  Counter& recomputed_tokens;
};

struct EngineMetrics::Requests {
  Requests(const Adder& add, std::span<const double> token_counts)
      : stopped(add.counter(kSuccess, kSuccessHelp, "finished_reason", "stop")),
        at_length(add.counter(kSuccess, kSuccessHelp, "finished_reason", "length")),
        aborted(add.counter(kSuccess, kSuccessHelp, "finished_reason", "abort")),
        failed(add.counter(kSuccess, kSuccessHelp, "finished_reason", "error")),
        corrupted(add.counter("vllm:corrupted_requests",
                              "Requests that ended because their logits were not numbers.")),
        refused(add.counter("vllm:admission_rejections", "Requests refused at once, by why.",
                            "reason", "max_num_queued_reqs")),
        first_token(add.histogram("vllm:time_to_first_token_seconds",
                                  "From a request's arrival to its first token.",
                                  kFirstTokenBounds)),
        inter_token(add.histogram("vllm:inter_token_latency_seconds",
                                  "Between a request's tokens of one step and those of the next.",
                                  kTokenBounds)),
        time_per_token(add.histogram("vllm:request_time_per_output_token_seconds",
                                     "A request's mean time per token after the first.",
                                     kTokenBounds)),
        end_to_end(add.histogram("vllm:e2e_request_latency_seconds",
                                 "From a request's arrival to its end.", kRequestBounds)),
        queued(add.histogram("vllm:request_queue_time_seconds",
                             "From a request's arrival to its admission.", kRequestBounds)),
        inference(add.histogram("vllm:request_inference_time_seconds",
                                "From a request's admission to its last token.", kRequestBounds)),
        prefill(add.histogram("vllm:request_prefill_time_seconds",
                              "From a request's admission to its first token.", kRequestBounds)),
        decode(add.histogram("vllm:request_decode_time_seconds",
                             "From a request's first token to its last.", kRequestBounds)),
        prompt_tokens(add.histogram("vllm:request_prompt_tokens", "Tokens of a request's prompt.",
                                    token_counts)),
        generation_tokens(add.histogram("vllm:request_generation_tokens",
                                        "Tokens generated for a request.", token_counts)),
        max_generation_tokens(add.histogram("vllm:request_max_num_generation_tokens",
                                            "Tokens of a request's longest answer.", token_counts)),
        max_tokens(add.histogram("vllm:request_params_max_tokens",
                                 "Most tokens that a request allowed.", token_counts)),
        computed_tokens(add.histogram("vllm:request_prefill_kv_computed_tokens",
                                      "Prompt tokens of a request that were not in the cache.",
                                      token_counts)),
        preemptions(add.histogram("vllm:request_num_preemptions",
                                  "Times that a request lost its blocks to another.",
                                  kPreemptionBounds)) {}

  Counter& ended(FinishReason reason) {
    switch (reason) {
      case FinishReason::stop:
        return stopped;
      case FinishReason::length:
        return at_length;
      case FinishReason::cancelled:
        return aborted;
      case FinishReason::error:
        break;
    }
    return failed;
  }

  Counter& stopped;
  Counter& at_length;
  Counter& aborted;
  Counter& failed;
  Counter& corrupted;
  Counter& refused;
  Histogram& first_token;
  Histogram& inter_token;
  Histogram& time_per_token;
  Histogram& end_to_end;
  Histogram& queued;
  Histogram& inference;
  Histogram& prefill;
  Histogram& decode;
  Histogram& prompt_tokens;
  Histogram& generation_tokens;
  Histogram& max_generation_tokens;
  Histogram& max_tokens;
  Histogram& computed_tokens;
  Histogram& preemptions;
};

struct EngineMetrics::Drafts {
  Drafts(const Adder& add, int64_t max_length)
      : drafts(add.counter("vllm:spec_decode_num_drafts", "Drafts verified.")),
        tokens(add.counter("vllm:spec_decode_num_draft_tokens", "Tokens in verified drafts.")),
        accepted(
            add.counter("vllm:spec_decode_num_accepted_tokens", "Draft tokens that were right.")) {
    for (int64_t position = 0; position < max_length; ++position) {
      accepted_at.push_back(&add.counter("vllm:spec_decode_num_accepted_tokens_per_pos",
                                         "Draft tokens that were right, by place in their draft.",
                                         "position", fmt::to_string(position)));
    }
  }

  Counter& drafts;
  Counter& tokens;
  Counter& accepted;
  std::vector<Counter*> accepted_at;
};

struct EngineMetrics::OlderNames {
  explicit OlderNames(const Adder& add)
      : kv_cache_usage(
            add.gauge("vllm:gpu_cache_usage_perc", "Older name of vllm:kv_cache_usage_perc.")),
        prefix_cache_queries(add.counter("vllm:gpu_prefix_cache_queries",
                                         "Older name of vllm:prefix_cache_queries.")),
        prefix_cache_hits(
            add.counter("vllm:gpu_prefix_cache_hits", "Older name of vllm:prefix_cache_hits.")),
        inter_token(add.histogram("vllm:time_per_output_token_seconds",
                                  "Older name of vllm:inter_token_latency_seconds.",
                                  kTokenBounds)) {}

  Gauge& kv_cache_usage;
  Counter& prefix_cache_queries;
  Counter& prefix_cache_hits;
  Histogram& inter_token;
};

EngineMetrics::EngineMetrics(metrics::Registry& registry, const EngineMetricsOptions& options)
    : registry_(registry), labels_{{"model_name", options.model_name}, {"engine", "0"}} {
  const Adder add{registry_, labels_};
  load_ = std::make_unique<Load>(add);
  steps_ = std::make_unique<Steps>(add);
  requests_ = std::make_unique<Requests>(add, one_two_five_bounds(options.max_model_len));
  if (options.num_speculative_tokens > 0) {
    drafts_ = std::make_unique<Drafts>(add, options.num_speculative_tokens);
  }
  if (options.older_names) older_names_ = std::make_unique<OlderNames>(add);
}

EngineMetrics::~EngineMetrics() = default;

void EngineMetrics::describe(const EngineFacts& facts) {
  // Without model_name, as in vLLM; "True" is how Python spells it, and what readers compare with.
  const Labels cache = {{"engine", "0"},
                        {"block_size", fmt::to_string(facts.block_size)},
                        {"num_gpu_blocks", fmt::to_string(facts.num_kv_blocks)},
                        {"cache_dtype", facts.kv_cache_dtype},
                        {"enable_prefix_caching", facts.enable_prefix_caching ? "True" : "False"}};
  registry_.gauge("vllm:cache_config_info", "The KV cache's configuration, as labels.", cache)
      .set(1);
  const Adder add{registry_, labels_};
  add.gauge("tetrad:kv_cache_bytes", "Memory of the KV cache.")
      .set(static_cast<double>(facts.kv_cache_bytes));
  add.gauge("tetrad:max_model_len", "Longest prompt and answer together, in tokens.")
      .set(static_cast<double>(facts.max_model_len));
}

void EngineMetrics::set_load(int64_t num_running, int64_t num_waiting, int64_t num_kv_blocks,
                             int64_t num_free_kv_blocks) {
  load_->running.set(static_cast<double>(num_running));
  load_->waiting.set(static_cast<double>(num_waiting));
  load_->waiting_for_capacity.set(static_cast<double>(num_waiting));
  if (num_kv_blocks <= 0) return;
  const double usage =
      static_cast<double>(num_kv_blocks - num_free_kv_blocks) / static_cast<double>(num_kv_blocks);
  load_->kv_cache_usage.set(usage);
  if (older_names_) older_names_->kv_cache_usage.set(usage);
}

void EngineMetrics::on_step(const StepReport& report) {
  set_load(report.num_running, report.num_waiting, report.num_kv_blocks, report.num_free_kv_blocks);
  // As in vLLM, a token counts when it is first processed, however often a preemption costs it.
  const int64_t num_computed = report.num_prompt_tokens - report.num_recomputed_tokens;
  steps_->prompt_tokens.add(num_computed + report.prefix_cache_hits);
  steps_->prompt_tokens_cached.add(report.prefix_cache_hits);
  steps_->prompt_tokens_computed.add(num_computed);
  steps_->prompt_tokens_hit.add(report.prefix_cache_hits);
  steps_->generation_tokens.add(report.num_generated_tokens);
  steps_->prefix_cache_queries.add(report.prefix_cache_queries);
  steps_->prefix_cache_hits.add(report.prefix_cache_hits);
  steps_->preemptions.add(report.num_preemptions);
  steps_->tokens.observe(static_cast<double>(report.num_batched_tokens));
  steps_->seconds.observe(report.duration.count());
  steps_->recomputed_tokens.add(report.num_recomputed_tokens);
  if (older_names_) {
    older_names_->prefix_cache_queries.add(report.prefix_cache_queries);
    older_names_->prefix_cache_hits.add(report.prefix_cache_hits);
  }
}

void EngineMetrics::on_first_token(Seconds since_arrival) {
  requests_->first_token.observe(since_arrival.count());
}

void EngineMetrics::on_tokens(Seconds since_last, int64_t /*count*/) {
  // One value however many tokens an accepted draft brought: clients see them arrive together.
  requests_->inter_token.observe(since_last.count());
  if (older_names_) older_names_->inter_token.observe(since_last.count());
}

void EngineMetrics::on_draft(int64_t num_draft_tokens, int64_t num_accepted) {
  if (!drafts_) return;
  drafts_->drafts.add();
  drafts_->tokens.add(num_draft_tokens);
  drafts_->accepted.add(num_accepted);
  const auto max_length = static_cast<int64_t>(drafts_->accepted_at.size());
  for (int64_t position = 0; position < std::min(num_accepted, max_length); ++position)
    drafts_->accepted_at[static_cast<size_t>(position)]->add();
}

void EngineMetrics::on_finish(const RequestReport& report) {
  requests_->ended(report.finish_reason).add();
  if (report.has_nan_logits) requests_->corrupted.add();
  // What was broken off would say nothing true of how long requests are and take.
  const bool complete =
      report.finish_reason == FinishReason::stop || report.finish_reason == FinishReason::length;
  if (complete) observe_finished(report);
}

void EngineMetrics::observe_finished(const RequestReport& report) {
  const Seconds decode = report.last_token - report.first_token;
  requests_->end_to_end.observe((report.finished - report.arrived).count());
  requests_->queued.observe((report.admitted - report.arrived).count());
  requests_->inference.observe((report.last_token - report.admitted).count());
  requests_->prefill.observe((report.first_token - report.admitted).count());
  requests_->decode.observe(decode.count());
  if (report.num_generated_tokens > 1) {
    requests_->time_per_token.observe(decode.count() /
                                      static_cast<double>(report.num_generated_tokens - 1));
  }
  const auto num_generated = static_cast<double>(report.num_generated_tokens);
  requests_->prompt_tokens.observe(static_cast<double>(report.num_prompt_tokens));
  requests_->generation_tokens.observe(num_generated);
  requests_->max_generation_tokens.observe(num_generated);
  requests_->max_tokens.observe(static_cast<double>(report.max_tokens));
  requests_->computed_tokens.observe(
      static_cast<double>(report.num_prompt_tokens - report.num_cached_tokens));
  requests_->preemptions.observe(static_cast<double>(report.num_preemptions));
}

void EngineMetrics::on_queue_full() {
  requests_->refused.add();
}

std::vector<double> one_two_five_bounds(int64_t max) {
  std::vector<double> bounds;
  for (double power = 1;; power *= 10) {
    for (const double factor : {1, 2, 5}) {
      if (factor * power > static_cast<double>(max)) return bounds;
      bounds.push_back(factor * power);
    }
  }
}

}  // namespace tetrad
