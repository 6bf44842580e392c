#pragma once

// A model of random weights on a card, or one rank's share of it, and what times its steps: as the
// engine calls them, inputs copied to the card, and back what a sampler needs to draw among the
// likeliest tokens.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "bench_model_flags.h"
#include "gpu_limits.h"
#include "kernels/batch.h"
#include "model/gpu_model.h"

namespace tetrad {

class GpuModelBench {
 public:
  /// ranks: of many, who all make the same calls; or null. config: the whole model's.
  static Result<std::unique_ptr<GpuModelBench>> create(const BenchModelFlags& flags,
                                                       const ModelConfig& config,
                                                       std::unique_ptr<gpu::Device> device,
                                                       const GpuRanks* ranks);

  /// `sequences` of one token a step; the last step has `context` tokens before it.
  Result<json::object> decode(int64_t sequences, int64_t context);
  Result<json::object> prefill(int64_t prompt);
  /// Where a step's time goes: of `sequences` with `count` tokens more after `context`.
  Result<json::object> profile(int64_t sequences, int64_t context, int64_t count);

  const gpu::DeviceInfo& info() const { return info_; }
  const GpuLimits& limits() const { return limits_; }
  const GpuRankGroup& ranks() const { return model_->ranks(); }

 private:
  struct Cost;

  GpuModelBench(const ModelConfig& config, gpu::DeviceInfo info, const GpuLimits& limits,
                std::unique_ptr<GpuModel> model, int repetitions, int64_t max_num_batched_tokens)
      : config_(config),
        info_(std::move(info)),
        limits_(limits),
        model_(std::move(model)),
        repetitions_(repetitions),
        max_num_batched_tokens_(max_num_batched_tokens) {}

  /// As the engine does for requests with a temperature and top_k.
  Result<void> compute(const Batch& batch);
  Cost step_cost(int64_t tokens, int64_t logits, int64_t keys_read, double attention_pairs) const;
  json::object figures(double steps_per_second, int64_t tokens, const Cost& cost) const;

  ModelConfig config_;
  gpu::DeviceInfo info_;
  GpuLimits limits_;
  std::unique_ptr<GpuModel> model_;
  int repetitions_;
  int64_t max_num_batched_tokens_;
  std::vector<LogitsUse> uses_;
};

}  // namespace tetrad
