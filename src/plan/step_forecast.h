#pragma once

// How long a step takes on each way to lay a model over GPUs: reading and computing as in the
// roofline, but on the GPU that has most to read, then what the ranks tell each other. Not in it:
// launches, sampling, what a kernel reaches of the rates.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plan/collectives.h"
#include "plan/gpu_memory.h"
#include "plan/roofline.h"

namespace tetrad::plan {

struct StepForecast {
  bool is_prefill = false;   // one chunk of a prompt, from an empty cache
  int64_t tokens = 1;        // of decode: sequences
  int64_t context = 0;       // tokens of each sequence in the cache
  double bytes = 0;          // read by the GPU that reads most
  double multiply_adds = 0;  // of all GPUs of the replica
  std::vector<Collective> collectives;
  CollectiveTotals told;
  std::optional<double> read_seconds;
  std::optional<double> compute_seconds;

  /// The longer of reading and computing, and the collectives after it; absent without a bandwidth,
  /// and where there are ranks that nothing is known to connect.
  std::optional<double> seconds() const;
  std::optional<double> tokens_per_second() const;
};

struct LayoutForecast {
  Layout layout;
  int64_t weight_bytes = 0;    // of one GPU
  int64_t kv_token_bytes = 0;  // on one GPU
  int64_t kv_tokens = 0;  // that the GPUs of a replica have room for; 0: the weights do not fit
  std::string error;      // why there is no such layout; "": there is
  std::vector<StepForecast> steps;
};

/// What to forecast.
struct ForecastRequest {
  MachineRates rates;
  Interconnect link;
  DType kv_cache_dtype = DType::f8_e4m3;
  std::vector<int64_t> batches;
  int64_t context = 0;
  int64_t chunk = 0;  // tokens
};

/// What --gpu-memory-utilization leaves for weights, workspace and cache is `usable_bytes` a GPU.
LayoutForecast forecast_layout(const PlannedModel& model, Layout layout,
                               const ForecastRequest& request, StepLimits limits,
                               int64_t usable_bytes);

/// 1, 2, 4, … up to `gpus`, and `chosen`; those of more than one rank without and with expert
/// parallelism.
std::vector<Layout> layouts_to_compare(int64_t gpus, int64_t chosen);

}  // namespace tetrad::plan
