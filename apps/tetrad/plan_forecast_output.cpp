#include "plan_forecast_output.h"

#include <fmt/format.h>

#include <string>

#include "base/grouped_number.h"

namespace tetrad::plan {
namespace {

constexpr double kBytesPerGiB = 1 << 30;

std::string layout_name(Layout layout) {
  return fmt::format("TP {}{}", layout.tensor_parallel, layout.expert_parallel ? ", EP" : "");
}

void print_layout_head(const LayoutForecast& forecast) {
  if (!forecast.error.empty()) {
    fmt::print("{}: {}\n", layout_name(forecast.layout), forecast.error);
    return;
  }
  fmt::print("{}: {:.3f} GiB of weights a GPU, {}\n", layout_name(forecast.layout),
             static_cast<double>(forecast.weight_bytes) / kBytesPerGiB,
             forecast.kv_tokens > 0
                 ? fmt::format("room for {} tokens", grouped_number(forecast.kv_tokens))
                 : std::string("which do not fit"));
}

bool fits(const LayoutForecast& forecast, const StepForecast& step) {
  return step.is_prefill ? step.tokens <= forecast.kv_tokens
                         : step.tokens * step.context <= forecast.kv_tokens;
}

void print_step(const LayoutForecast& forecast, const StepForecast& step) {
  const auto rate = step.tokens_per_second();
  fmt::print("  {:<8} {:>6} {:>9} {:>9.3f} {:>11} {:>11} {:>6} {:>9.3f} {:>11} {:>11} {:>10}{}\n",
             step.is_prefill ? "prefill" : "decode", step.tokens, grouped_number(step.context),
             step.bytes / 1e9, time_text(step.read_seconds), time_text(step.compute_seconds),
             step.told.count, step.told.bytes_sent / 1e6, time_text(step.told.seconds),
             time_text(step.seconds()), rate ? fmt::format("{:.1f}", *rate) : "-",
             forecast.kv_tokens == 0 || fits(forecast, step) ? "" : "  does not fit the cache");
}

std::string link_text(const Interconnect& link) {
  if (!link.latency_seconds || !link.bytes_per_second)
    return "over an unknown connection (--link names one)";
  return fmt::format("each {:.1f} us and what is sent at {:.1f} GB/s", *link.latency_seconds * 1e6,
                     *link.bytes_per_second / 1e9);
}

json::array collectives_to_json(const StepForecast& step) {
  json::array rows;
  for (const Collective& collective : step.collectives) {
    rows.push_back(json::object{{"kind", collective_kind_name(collective.kind)},
                                {"count", collective.count},
                                {"bytes", collective.bytes},
                                {"bytes_sent_per_gpu", collective.bytes_sent}});
  }
  return rows;
}

json::array steps_to_json(const LayoutForecast& forecast) {
  json::array rows;
  for (const StepForecast& step : forecast.steps) {
    rows.push_back(json::object{{"kind", step.is_prefill ? "prefill" : "decode"},
                                {"tokens", step.tokens},
                                {"context", step.context},
                                {"fits", fits(forecast, step)},
                                {"bytes_of_busiest_gpu", step.bytes},
                                {"multiply_adds", step.multiply_adds},
                                {"collectives", collectives_to_json(step)},
                                {"num_collectives", step.told.count},
                                {"collective_bytes_sent_per_gpu", step.told.bytes_sent},
                                {"read_seconds", number_or_null(step.read_seconds)},
                                {"compute_seconds", number_or_null(step.compute_seconds)},
                                {"collective_seconds", number_or_null(step.told.seconds)},
                                {"seconds", number_or_null(step.seconds())},
                                {"tokens_per_second", number_or_null(step.tokens_per_second())}});
  }
  return rows;
}

}  // namespace

std::string time_text(const std::optional<double>& seconds) {
  if (!seconds) return "-";
  if (*seconds >= 1) return fmt::format("{:.2f} s", *seconds);
  return fmt::format("{:.3f} ms", *seconds * 1e3);
}

json::value number_or_null(const std::optional<double>& number) {
  return number ? json::value(*number) : json::value(nullptr);
}

void print_layouts(const PlanRequest& request, const Plan& plan) {
  fmt::print("\n{:<17} {:>9} {:>9} {:>11} {:>11} {:>6} {:>9} {:>11} {:>11} {:>10}\n",
             "forecast, tokens", "context", "GB read", "reading", "computing", "sums", "MB sent",
             "sums take", "step", "tokens/s");
  for (const LayoutForecast& forecast : plan.layouts) {
    print_layout_head(forecast);
    for (const StepForecast& step : forecast.steps)
      print_step(forecast, step);
  }
  fmt::print(
      "step: the longer of reading and computing, then the sums over the GPUs (and the gathering "
      "of "
      "logits), one after the\nother, {}. GB read: by the GPU that reads most. No launches\nand no "
      "sampling are in it, and kernels are taken to reach the rates.\n",
      link_text(request.link));
}

json::array layouts_to_json(const Plan& plan) {
  json::array rows;
  for (const LayoutForecast& forecast : plan.layouts) {
    rows.push_back(json::object{
        {"tensor_parallel", forecast.layout.tensor_parallel},
        {"expert_parallel", forecast.layout.expert_parallel},
        {"error", forecast.error.empty() ? json::value(nullptr) : json::value(forecast.error)},
        {"weight_bytes_per_gpu", forecast.weight_bytes},
        {"kv_tokens", forecast.kv_tokens},
        {"steps", steps_to_json(forecast)}});
  }
  return rows;
}

}  // namespace tetrad::plan
