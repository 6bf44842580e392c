#pragma once

// What `tetrad bench model` measures of a model, each beside the limits of the machine at that
// moment.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "bench_cpu_ranks.h"
#include "kernels/cpu_limits.h"
#include "model/minimax_m2.h"
#include "model/step_cost.h"
#include "model/synthetic_model.h"

namespace tetrad {

/// Of the repetitions.
struct BenchSpread {
  double median = 0;
  double least = 0;
  double greatest = 0;
};

/// A speed against a limit that was measured before and after each repetition.
struct LimitShare {
  double limit = 0;  // median of all measurements
  double share = 0;  // median of each repetition's speed over the mean of its two
};

/// What one operation took of a run.
struct OperationShare {
  std::string operation;  // TimedKernels::Entry
  double calls_per_step = 0;
  double microseconds = 0;  // of a call
  double share = 0;         // of the run's time
};

struct ModelFigures {
  int64_t size = 0;  // context, prompt or batch
  int64_t steps = 0;
  BenchSpread tokens_per_second;
  double bytes_per_token = 0;  // StepCost, of the last repetition
  double operations_per_token = 0;
  double gb_per_second = 0;  // medians
  double gops_per_second = 0;
  std::optional<LimitShare> of_reading;
  std::optional<LimitShare> of_int8;
  std::vector<OperationShare> operations;  // of the last repetition, what took most first
};

enum class MeasuredLimits : uint8_t { reading, int8, both };

struct ModelBenchOptions {
  ModelConfig config;
  std::string kernels = "auto";
  int threads = 0;  // of all ranks together
  plan::Layout layout;
  uint64_t seed = 1;
  int repetitions = 5;
  int64_t max_num_batched_tokens = 2048;
  /// The largest that are going to be asked for; 0: none.
  int64_t longest_context = 0;
  int64_t longest_prompt = 0;
  int64_t largest_batch = 0;
};

/// A synthetic model with an FP8 cache.
class ModelBench {
 public:
  /// Context of each sequence of batched().
  static constexpr int64_t kBatchContext = 16;

  static Result<ModelBench> create(const ModelBenchOptions& options);

  /// Steps of one sequence; the last has `context` tokens before it, as many as the cache holds.
  ModelFigures decode(int64_t context);
  /// Steps of `batch` sequences of kBatchContext tokens.
  ModelFigures batched(int64_t batch);
  /// All tokens of a prompt, the last one's logits included.
  ModelFigures prefill(int64_t prompt);

  /// The whole one.
  const MiniMaxM2& model() const { return *model_; }
  int64_t cache_bytes() const { return ranks_->cache_bytes(); }
  int num_threads() const { return pool_->num_threads(); }
  plan::Layout layout() const { return options_.layout; }

 private:
  struct Run {
    double seconds = 0;
    int64_t tokens = 0;
    int64_t steps = 0;
    StepCost cost;
  };

  ModelBench(ModelBenchOptions options, std::shared_ptr<ThreadPool> pool, CpuLimitProbe probe,
             std::shared_ptr<const MiniMaxM2> model, std::unique_ptr<CpuBenchRanks> ranks);
  ModelFigures decode_of(int64_t num_sequences, int64_t context, MeasuredLimits limits);
  std::vector<OperationShare> operations_of(const Run& run) const;
  ModelFigures measure(const std::function<Run()>& run, MeasuredLimits limits);

  ModelBenchOptions options_;
  std::shared_ptr<ThreadPool> pool_;
  CpuLimitProbe probe_;
  std::shared_ptr<const MiniMaxM2> model_;
  std::unique_ptr<CpuBenchRanks> ranks_;
};

}  // namespace tetrad
