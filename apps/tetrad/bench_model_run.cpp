#include "bench_model_run.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/percentile.h"
#include "bench_model_step.h"
#include "loaded_model.h"

namespace tetrad {
namespace {

constexpr double kSecondsOfDecode = 0.75;
constexpr double kSecondsOfWarmUp = 0.1;
/// Steps of a decode go round the last positions before its context, so many or a part of it.
constexpr int64_t kDecodePositions = 64;
constexpr double kGiga = 1e9;

BenchSpread spread_of(const std::vector<double>& values) {
  const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
  return {.median = median_of(values), .least = *least, .greatest = *greatest};
}

/// `limits` has a value before each of `speeds` and one behind the last.
LimitShare share_of(const std::vector<double>& speeds, const std::vector<double>& limits) {
  std::vector<double> shares;
  shares.reserve(speeds.size());
  for (size_t i = 0; i < speeds.size(); ++i)
    shares.push_back(speeds[i] / ((limits[i] + limits[i + 1]) / 2));
  return {.limit = median_of(limits), .share = median_of(std::move(shares))};
}

int64_t blocks_needed(const ModelBenchOptions& options) {
  const int64_t of_batch = options.largest_batch * kv_blocks_for(ModelBench::kBatchContext + 1);
  return std::max({kv_blocks_for(options.longest_context + 1),
                   kv_blocks_for(options.longest_prompt), of_batch});
}

/// What a step takes beside weights and cache, roughly.
int64_t working_bytes(const ModelBenchOptions& options) {
  constexpr int64_t kExpertTokensAtOnce = 1024;
  const ModelConfig& config = options.config;
  const int64_t prefill = std::min(options.longest_prompt, options.max_num_batched_tokens);
  const int64_t tokens = std::max(prefill, std::max<int64_t>(options.largest_batch, 1));
  const int64_t logits = std::max<int64_t>(options.largest_batch, 1) * config.vocab_size;
  const int64_t of_token = 3 * config.hidden_size + 2 * config.q_size() + 2 * config.kv_size() +
                           config.num_local_experts;
  const int64_t of_experts =
      config.num_experts_per_tok * (2 * config.intermediate_size + config.hidden_size);
  return 4 * (logits + tokens * of_token + std::min(tokens, kExpertTokensAtOnce) * of_experts);
}

}  // namespace

Result<ModelBench> ModelBench::create(const ModelBenchOptions& options) {
  const bool has_one_thread = options.kernels == "reference";
  auto pool = std::make_shared<ThreadPool>(has_one_thread ? 1 : options.threads);
  TETRAD_ASSIGN(std::shared_ptr<Kernels> kernels, make_named_kernels(options.kernels, pool));
  // First, because it takes a part of the memory that is free.
  TETRAD_ASSIGN(CpuLimitProbe probe, CpuLimitProbe::create(pool));
  const int64_t num_blocks = blocks_needed(options);
  const int64_t cache_bytes = num_blocks * KvCache::block_bytes(options.config, DType::f8_e4m3);
  TETRAD_ASSIGN(std::shared_ptr<const MiniMaxM2> model,
                make_synthetic_model(options.config, options.seed, *pool, std::move(kernels),
                                     cache_bytes + working_bytes(options)));
  TETRAD_ASSIGN(auto ranks, CpuBenchRanks::create(model, {.kernels = options.kernels,
                                                          .pool = pool,
                                                          .threads = options.threads,
                                                          .layout = options.layout,
                                                          .num_kv_blocks = num_blocks,
                                                          .seed = options.seed}));
  return ModelBench(options, std::move(pool), std::move(probe), std::move(model), std::move(ranks));
}

ModelBench::ModelBench(ModelBenchOptions options, std::shared_ptr<ThreadPool> pool,
                       CpuLimitProbe probe, std::shared_ptr<const MiniMaxM2> model,
                       std::unique_ptr<CpuBenchRanks> ranks)
    : options_(std::move(options)),
      pool_(std::move(pool)),
      probe_(std::move(probe)),
      model_(std::move(model)),
      ranks_(std::move(ranks)) {}

ModelFigures ModelBench::decode(int64_t context) {
  ModelFigures figures = decode_of(1, context, MeasuredLimits::reading);
  figures.size = context;
  return figures;
}

ModelFigures ModelBench::batched(int64_t batch) {
  ModelFigures figures = decode_of(batch, kBatchContext, MeasuredLimits::both);
  figures.size = batch;
  return figures;
}

ModelFigures ModelBench::decode_of(int64_t num_sequences, int64_t context, MeasuredLimits limits) {
  const SteadyClock clock;
  BenchStep step(num_sequences, context + 1, model_->config().vocab_size, options_.seed);
  const int64_t positions = std::min(kDecodePositions, context / kBatchContext + 1);
  const auto run_steps = [&](int64_t count) {
    Run run;
    StepCostCounter counter(*model_, DType::f8_e4m3);
    ranks_->kernels().clear();
    const Seconds begin = clock.now();
    for (int64_t i = count - 1; i >= 0; --i) {
      const Batch batch = step.next(context - i % positions, 1, true);
      ranks_->forward(batch, counter.observer());
      counter.add(batch);
    }
    run.seconds = (clock.now() - begin).count();
    run.tokens = count * num_sequences;
    run.steps = count;
    run.cost = counter.total();
    return run;
  };

  run_steps(1);
  int64_t warm_up_steps = 0;
  double warm_up_seconds = 0;
  while (warm_up_seconds < kSecondsOfWarmUp) {
    warm_up_seconds += run_steps(1).seconds;
    ++warm_up_steps;
  }
  const double steps = kSecondsOfDecode / warm_up_seconds * static_cast<double>(warm_up_steps);
  const auto count = static_cast<int64_t>(std::ceil(steps));
  ModelFigures figures = measure(
      [&] {
        run_steps(1);
        return run_steps(count);
      },
      limits);
  figures.steps = count;
  return figures;
}

ModelFigures ModelBench::prefill(int64_t prompt) {
  const SteadyClock clock;
  BenchStep step(1, prompt, model_->config().vocab_size, options_.seed);
  int64_t steps = 0;
  ModelFigures figures = measure(
      [&] {
        StepCostCounter counter(*model_, DType::f8_e4m3);
        ranks_->kernels().clear();
        const Seconds begin = clock.now();
        steps = 0;
        for (int64_t done = 0; done < prompt; ++steps) {
          const int64_t count = std::min(options_.max_num_batched_tokens, prompt - done);
          const Batch batch = step.next(done, count, done + count == prompt);
          ranks_->forward(batch, counter.observer());
          counter.add(batch);
          done += count;
        }
        return Run{.seconds = (clock.now() - begin).count(),
                   .tokens = prompt,
                   .steps = steps,
                   .cost = counter.total()};
      },
      MeasuredLimits::int8);
  figures.size = prompt;
  figures.steps = steps;
  return figures;
}

std::vector<OperationShare> ModelBench::operations_of(const Run& run) const {
  std::vector<OperationShare> operations;
  for (const TimedKernels::Entry& entry : ranks_->kernels().entries()) {
    const auto calls = static_cast<double>(entry.calls);
    operations.push_back({.operation = entry.operation,
                          .calls_per_step = calls / static_cast<double>(run.steps),
                          .microseconds = entry.seconds / calls * 1e6,
                          .share = entry.seconds / run.seconds});
  }
  std::ranges::stable_sort(operations, std::greater<>(), &OperationShare::share);
  return operations;
}

ModelFigures ModelBench::measure(const std::function<Run()>& run, MeasuredLimits limits) {
  std::vector<double> reading, int8;
  const auto measure_limits = [&] {
    if (limits != MeasuredLimits::int8) reading.push_back(probe_.read_gb_per_s());
    if (limits != MeasuredLimits::reading) int8.push_back(probe_.int8_gops());
  };
  ModelFigures figures;
  std::vector<double> tokens, gigabytes, giga_operations;  // a second
  measure_limits();
  for (int repetition = 0; repetition < options_.repetitions; ++repetition) {
    const Run done = run();
    measure_limits();
    const auto num_tokens = static_cast<double>(done.tokens);
    const auto bytes = static_cast<double>(done.cost.bytes);
    const auto operations = static_cast<double>(done.cost.operations);
    tokens.push_back(num_tokens / done.seconds);
    gigabytes.push_back(bytes / done.seconds / kGiga);
    giga_operations.push_back(operations / done.seconds / kGiga);
    figures.bytes_per_token = bytes / num_tokens;
    figures.operations_per_token = operations / num_tokens;
    figures.operations = operations_of(done);
  }
  figures.tokens_per_second = spread_of(tokens);
  figures.gb_per_second = median_of(gigabytes);
  figures.gops_per_second = median_of(giga_operations);
  if (!reading.empty()) figures.of_reading = share_of(gigabytes, reading);
  if (!int8.empty()) figures.of_int8 = share_of(giga_operations, int8);
  return figures;
}

}  // namespace tetrad
