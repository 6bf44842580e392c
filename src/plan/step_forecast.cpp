#include "plan/step_forecast.h"

#include <algorithm>
#include <set>

#include "plan/gpu_memory.h"
#include "plan/rank_share.h"

namespace tetrad::plan {
namespace {

class Forecaster {
 public:
  Forecaster(const PlannedModel& model, Layout layout, const ForecastRequest& request,
             int64_t kv_token_bytes)
      : config_(model.config),
        layout_(layout),
        request_(request),
        roofline_(model, layout, kv_token_bytes, request.rates) {}

  StepForecast decode(int64_t batch) const {
    const DecodeForecast least = roofline_.decode(batch, request_.context);
    StepForecast step{.tokens = batch,
                      .context = request_.context,
                      .bytes = least.bytes + roofline_.busiest_excess_bytes(batch),
                      .multiply_adds = least.multiply_adds};
    return timed(std::move(step), {.tokens = batch, .logit_rows = batch});
  }

  StepForecast prefill() const {
    const int64_t tokens = request_.chunk;
    const PrefillForecast least = roofline_.prefill(tokens, tokens);
    StepForecast step{.is_prefill = true,
                      .tokens = tokens,
                      .bytes = least.bytes + roofline_.busiest_excess_bytes(tokens),
                      .multiply_adds = least.multiply_adds};
    return timed(std::move(step), {.tokens = tokens, .logit_rows = 1});
  }

 private:
  StepForecast timed(StepForecast step, StepShape shape) const {
    step.collectives = step_collectives(config_, layout_, shape);
    step.told = collective_totals(step.collectives, request_.link);
    const auto ranks = static_cast<double>(layout_.tensor_parallel);
    if (const auto rate = request_.rates.bytes_per_second) step.read_seconds = step.bytes / *rate;
    if (const auto rate = request_.rates.operations_per_second)
      step.compute_seconds = 2 * step.multiply_adds / ranks / *rate;
    return step;
  }

  const ModelConfig& config_;
  Layout layout_;
  const ForecastRequest& request_;
  Roofline roofline_;
};

}  // namespace

std::optional<double> StepForecast::seconds() const {
  if (!read_seconds || !told.seconds) return std::nullopt;
  return std::max(*read_seconds, compute_seconds.value_or(0)) + *told.seconds;
}

std::optional<double> StepForecast::tokens_per_second() const {
  const auto time = seconds();
  if (!time) return std::nullopt;
  return static_cast<double>(tokens) / *time;
}

LayoutForecast forecast_layout(const PlannedModel& model, Layout layout,
                               const ForecastRequest& request, StepLimits limits,
                               int64_t usable_bytes) {
  LayoutForecast forecast{.layout = layout};
  if (const auto possible = check_layout(model, layout); !possible) {
    forecast.error = possible.error().message;
    return forecast;
  }
  forecast.weight_bytes = weight_memory(model, layout).total();
  forecast.kv_token_bytes = kv_token_bytes(model.config, layout, request.kv_cache_dtype);
  const int64_t left =
      usable_bytes - forecast.weight_bytes - workspace_bytes(model.config, layout, limits);
  const int64_t blocks = std::max<int64_t>(left, 0) / (forecast.kv_token_bytes * kBlockTokens);
  forecast.kv_tokens = blocks * kBlockTokens;
  const Forecaster forecaster(model, layout, request, forecast.kv_token_bytes);
  for (const int64_t batch : request.batches)
    forecast.steps.push_back(forecaster.decode(batch));
  forecast.steps.push_back(forecaster.prefill());
  return forecast;
}

std::vector<Layout> layouts_to_compare(int64_t gpus, int64_t chosen) {
  std::set<int64_t> sizes{chosen};
  for (int64_t size = 1; size <= gpus; size *= 2)
    sizes.insert(size);
  std::vector<Layout> layouts;
  for (const int64_t size : sizes) {
    layouts.push_back({.tensor_parallel = size});
    if (size > 1) layouts.push_back({.tensor_parallel = size, .expert_parallel = true});
  }
  return layouts;
}

}  // namespace tetrad::plan
