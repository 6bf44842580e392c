#include "plan/plan.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/integer_math.h"

namespace tetrad::plan {
namespace {

constexpr int64_t kLargestSizeTried = 64;
constexpr int64_t kDefaultContext = 32768;
constexpr int64_t kMaxStepTokens = 1 << 20;
constexpr int64_t kMaxSequences = 4096;

Result<void> check_range(std::string_view flag, int64_t value, int64_t max) {
  if (value >= 1 && value <= max) return {};
  return fail_param(flag, "{} {}: it must be from 1 to {}", flag, value, max);
}

Result<void> check_rate(std::string_view flag, const std::optional<double>& rate) {
  if (!rate || (std::isfinite(*rate) && *rate > 0)) return {};
  return fail_param(flag, "{}: the rate must be positive", flag);
}

Result<void> check_lengths(const PlannedModel& model, const PlanRequest& request) {
  const int64_t longest = model.config.max_position_embeddings;
  for (const auto& [flag, length] : {std::pair{"--max-model-len", request.max_model_len},
                                     std::pair{"--context", request.context}}) {
    if (!length) continue;
    if (*length < 1) return fail_param(flag, "{} {}: it must be at least 1", flag, *length);
    if (*length > longest) {
      return fail_param(flag, "{} {}: the model has {} positions (max_position_embeddings)", flag,
                        *length, longest);
    }
  }
  return {};
}

Result<void> check_request(const PlannedModel& model, const PlanRequest& request) {
  const int64_t gpus = request.gpus.count;
  if (request.tensor_parallel) {
    const int64_t ranks = *request.tensor_parallel;
    TETRAD_TRY(check_range("--tp", ranks, gpus));
    if (gpus % ranks != 0) {
      return fail_param("--tp", "--tp {}: {} GPUs do not make whole replicas of {}", ranks, gpus,
                        ranks);
    }
  }
  TETRAD_TRY(check_range("--max-num-seqs", request.limits.max_num_seqs, kMaxSequences));
  TETRAD_TRY(check_range("--max-num-batched-tokens", request.limits.max_num_batched_tokens,
                         kMaxStepTokens));
  for (const int64_t batch : request.batches)
    TETRAD_TRY(check_range("--batch", batch, kMaxSequences));
  const double utilization = request.gpu_memory_utilization;
  if (!(utilization > 0 && utilization <= 1)) {
    return fail_param("--gpu-memory-utilization",
                      "--gpu-memory-utilization {}: it must be more than 0 and at most 1",
                      utilization);
  }
  TETRAD_TRY(check_rate("--bandwidth", request.rates.bytes_per_second));
  TETRAD_TRY(check_rate("--tflops", request.rates.operations_per_second));
  TETRAD_TRY(check_rate("--link-bandwidth", request.link.bytes_per_second));
  if (const auto latency = request.link.latency_seconds;
      latency && !(std::isfinite(*latency) && *latency >= 0)) {
    return fail_param("--link-latency", "--link-latency: the time must be at least 0");
  }
  return check_lengths(model, request);
}

/// "11.350 GiB"
std::string gib(double bytes) {
  return fmt::format("{:.3f} GiB", bytes / static_cast<double>(int64_t{1} << 30));
}

class Planner {
 public:
  Planner(const PlannedModel& model, const PlanRequest& request)
      : model_(model), request_(request) {}

  Plan run() {
    plan_.layout = {request_.tensor_parallel.value_or(request_.gpus.count),
                    request_.expert_parallel};
    plan_.replicas = request_.gpus.count / plan_.layout.tensor_parallel;
    plan_.max_model_len = request_.max_model_len.value_or(model_.config.max_position_embeddings);
    for (const WeightClass& weight : model_.weights)
      plan_.shards.push_back({weight, shard_of(weight, model_.config, plan_.layout)});
    plan_.findings = check_division(model_, plan_.layout);
    plan_.dividing_sizes = dividing_sizes(model_, plan_.layout.expert_parallel, kLargestSizeTried);
    plan_kv_format();
    plan_memory();
    forecast();
    return std::move(plan_);
  }

 private:
  template <class... Args>
  void report(Severity severity, fmt::format_string<Args...> format, Args&&... args) {
    plan_.findings.push_back({severity, fmt::format(format, std::forward<Args>(args)...)});
  }

  void plan_kv_format() {
    KvCapacity& kv = plan_.kv;
    kv.dtype =
        request_.kv_cache_dtype.value_or(model_.has_kv_scales ? DType::f8_e4m3 : DType::bf16);
    if (kv.dtype == DType::f8_e4m3 && !model_.has_kv_scales) {
      report(Severity::warning,
             "the checkpoint has no scales for an FP8 KV cache in every layer: serving it so needs "
             "--kv-scale 1.0, and loses accuracy");
    }
    kv.token_bytes = kv_token_bytes(model_.config, plan_.layout, kv.dtype);
    kv.token_bytes_in_all = kv.token_bytes * plan_.layout.tensor_parallel;
  }

  int64_t usable_bytes() const {
    return static_cast<int64_t>(request_.gpu_memory_utilization *
                                static_cast<double>(request_.gpus.bytes_each));
  }

  void plan_memory() {
    MemoryBudget& memory = plan_.memory;
    memory.total = request_.gpus.bytes_each;
    memory.weights = weight_memory(model_, plan_.layout);
    memory.workspace = workspace_bytes(model_.config, plan_.layout, request_.limits);
    const int64_t fixed = memory.weights.total() + memory.workspace;
    const int64_t left = usable_bytes() - fixed;
    const int64_t for_kv = request_.kv_cache_memory.value_or(std::max<int64_t>(left, 0));
    const int64_t block_bytes = plan_.kv.token_bytes * kBlockTokens;
    plan_.kv.blocks = for_kv / block_bytes;
    plan_.kv.full_length_requests = plan_.kv.blocks / ceil_div(plan_.max_model_len, kBlockTokens);
    memory.kv_cache = plan_.kv.blocks * block_bytes;
    if (request_.kv_cache_memory && memory.free() < 0) {
      report(Severity::error,
             "weights ({}), workspace ({}) and --kv-cache-memory ({}) are more than the {} of a "
             "GPU; at most {} is left for the KV cache",
             gib_of(memory.weights.total()), gib_of(memory.workspace), gib_of(for_kv),
             gib_of(memory.total), gib_of(std::max<int64_t>(memory.total - fixed, 0)));
    }
    if (plan_.kv.full_length_requests == 0) report_too_long(for_kv);
  }

  /// What --max-model-len would fit, or how much memory any would take.
  void report_too_long(int64_t for_kv) {
    const double needed = static_cast<double>(ceil_div(plan_.max_model_len, kBlockTokens)) *
                          static_cast<double>(plan_.kv.token_bytes * kBlockTokens);
    if (plan_.kv.blocks > 0) {
      report(Severity::error,
             "--max-model-len {} needs {} of KV cache on a GPU, and there are {}; the longest that "
             "fits is --max-model-len {}",
             plan_.max_model_len, gib(needed), gib_of(for_kv), plan_.kv.tokens());
    } else if (request_.kv_cache_memory) {
      report(Severity::error,
             "--max-model-len {} needs {} of KV cache on a GPU; --kv-cache-memory ({}) does not "
             "hold one block of {} tokens",
             plan_.max_model_len, gib(needed), gib_of(for_kv), kBlockTokens);
    } else {
      const int64_t fixed = plan_.memory.weights.total() + plan_.memory.workspace;
      report(Severity::error,
             "weights ({}) and workspace ({}) leave no room for a KV cache in the {} of a GPU that "
             "--gpu-memory-utilization {} allows; --max-model-len {} takes {} of each such GPU",
             gib_of(plan_.memory.weights.total()), gib_of(plan_.memory.workspace),
             gib_of(usable_bytes()), request_.gpu_memory_utilization, plan_.max_model_len,
             gib((static_cast<double>(fixed) + needed) / request_.gpu_memory_utilization));
    }
  }

  static std::string gib_of(int64_t bytes) { return gib(static_cast<double>(bytes)); }

  void forecast() {
    const Roofline roofline(model_, plan_.layout, plan_.kv.token_bytes, request_.rates);
    const int64_t context =
        request_.context.value_or(std::min(kDefaultContext, plan_.max_model_len));
    std::set<int64_t> batches(request_.batches.begin(), request_.batches.end());
    if (batches.empty()) {
      constexpr int64_t kSomeSequences = 8;
      batches = {1, std::min(kSomeSequences, request_.limits.max_num_seqs),
                 request_.limits.max_num_seqs};
    }
    for (const int64_t batch : batches) {
      plan_.decode.push_back(roofline.decode(batch, 0));
      plan_.decode.push_back(roofline.decode(batch, context));
    }
    const int64_t chunk = request_.limits.max_num_batched_tokens;
    for (const int64_t tokens :
         std::set{std::min(chunk, plan_.max_model_len), context, plan_.max_model_len}) {
      plan_.prefill.push_back(roofline.prefill(tokens, chunk));
    }
    compare_layouts({.rates = request_.rates,
                     .link = request_.link,
                     .kv_cache_dtype = plan_.kv.dtype,
                     .batches = {batches.begin(), batches.end()},
                     .context = context,
                     .chunk = std::min(chunk, plan_.max_model_len)});
  }

  void compare_layouts(const ForecastRequest& forecast) {
    for (const Layout layout :
         layouts_to_compare(request_.gpus.count, plan_.layout.tensor_parallel)) {
      plan_.layouts.push_back(
          forecast_layout(model_, layout, forecast, request_.limits, usable_bytes()));
    }
  }

  const PlannedModel& model_;
  const PlanRequest& request_;
  Plan plan_;
};

}  // namespace

bool Plan::has_errors() const {
  return std::ranges::any_of(
      findings, [](const Finding& finding) { return finding.severity == Severity::error; });
}

Result<Plan> make_plan(const PlannedModel& model, const PlanRequest& request) {
  TETRAD_TRY(check_request(model, request));
  return Planner(model, request).run();
}

}  // namespace tetrad::plan
