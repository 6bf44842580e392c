#include "gpu_model_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/percentile.h"
#include "bench_model_step.h"
#include "gpu_device_flag.h"
#include "gpu_profile.h"
#include "model/gpu_weight_bytes.h"
#include "parallel/agreement.h"

namespace tetrad {
namespace {

constexpr int64_t kDecodeSteps = 32;
/// Some 2 ms of multiply_add_peak by wgmma, in which the host makes a step's launches.
constexpr uint32_t kProfileBusyRounds = 60000;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int64_t largest(const std::vector<int64_t>& sizes) {
  return sizes.empty() ? 0 : *std::ranges::max_element(sizes);
}

/// Of all parts of the benchmark.
GpuModelLimits limits_of(const BenchModelFlags& flags) {
  const int64_t contexts = largest(flags.contexts) + kDecodeSteps + 1;
  const int64_t batch = largest(flags.batches);
  const int64_t batched = flags.batch_context + kDecodeSteps + 1;
  const int64_t prompt = largest(flags.prompts) + 1;
  return {.num_kv_blocks = std::max(
              {kv_blocks_for(contexts), kv_blocks_for(prompt), batch * kv_blocks_for(batched)}),
          .max_num_batched_tokens = flags.max_num_batched_tokens,
          .max_num_seqs = std::max<int64_t>(batch, 1),
          .max_logits_rows = std::max<int64_t>(batch, 1),
          .max_model_len = std::max({contexts, prompt, batched})};
}

/// Where the limits are measured; no other rank waits for this one yet.
struct MeasuredGpu {
  gpu::GpuKernels kernels;
  gpu::DeviceInfo info;
  GpuLimits limits;
};

Result<MeasuredGpu> measure_gpu(const BenchModelFlags& flags, const ModelConfig& config,
                                const plan::RankShare& share, gpu::Device& device) {
  TETRAD_ASSIGN(gpu::GpuKernels kernels, find_gpu_kernels(device, flags.gpu_tuning));
  TETRAD_ASSIGN(gpu::DeviceInfo info, device.info());
  TETRAD_TRY(GpuModel::check_config(GpuRankGroup::local_config(config, share)));
  TETRAD_TRY(check_gpu_weights_fit(config, share, info));
  TETRAD_ASSIGN(const GpuLimits limits, measure_gpu_limits(kernels));
  return MeasuredGpu{std::move(kernels), std::move(info), limits};
}

}  // namespace

/// What a step reads and computes at least on this rank, StepCost's way, but for the experts that
/// several tokens go to: as many as chance picks.
struct GpuModelBench::Cost {
  double bytes = 0;
  double operations = 0;
};

Result<std::unique_ptr<GpuModelBench>> GpuModelBench::create(const BenchModelFlags& flags,
                                                             const ModelConfig& config,
                                                             std::unique_ptr<gpu::Device> device,
                                                             const GpuRanks* ranks) {
  const plan::RankShare share = share_among(config, ranks);
  auto measured = measure_gpu(flags, config, share, *device);
  if (ranks != nullptr) TETRAD_TRY(parallel::agree(*ranks->ranks, measured));
  TETRAD_ASSIGN(MeasuredGpu gpu, std::move(measured));
  TETRAD_ASSIGN(auto model, GpuModel::create_random(config, 1, std::move(device), gpu.kernels,
                                                    limits_of(flags), ranks));
  return std::unique_ptr<GpuModelBench>(new GpuModelBench(config, std::move(gpu.info), gpu.limits,
                                                          std::move(model), flags.repetitions,
                                                          flags.max_num_batched_tokens));
}

GpuModelBench::Cost GpuModelBench::step_cost(int64_t tokens, int64_t logits, int64_t keys_read,
                                             double attention_pairs) const {
  const plan::RankShare& share = model_->ranks().share();
  const ModelConfig& local = model_->config();
  const auto hidden = static_cast<double>(config_.hidden_size);
  const auto experts = static_cast<double>(config_.num_local_experts);
  const auto experts_here = static_cast<double>(share.experts.size());
  const auto picked = static_cast<double>(config_.num_experts_per_tok);
  const double projections = hidden * static_cast<double>(2 * local.q_size() + 2 * local.kv_size());
  const double expert = 3 * hidden * static_cast<double>(share.expert_columns.size());
  const double active =
      experts_here * (1 - std::pow(1 - picked / experts, static_cast<double>(tokens)));
  const auto layers = static_cast<double>(config_.num_hidden_layers);
  const double head = logits > 0 ? hidden * static_cast<double>(share.vocabulary.size()) : 0;
  Cost cost;
  cost.bytes = gpu_weight_bytes(config_, share).read_by_step(active, logits > 0) +
               layers * 2.0 * static_cast<double>(local.kv_size() * keys_read);
  cost.operations =
      2 * (static_cast<double>(tokens) * layers *
               (projections + picked * experts_here / experts * expert + hidden * experts) +
           static_cast<double>(logits) * head +
           layers * 2 * static_cast<double>(local.q_size()) * attention_pairs);
  return cost;
}

Result<json::object> GpuModelBench::decode(int64_t sequences, int64_t context) {
  const int64_t first = std::max<int64_t>(context - kDecodeSteps, 0);
  BenchStep step(sequences, first + kDecodeSteps + 1, config_.vocab_size, 1);
  std::vector<double> rates;
  for (int repetition = 0; repetition <= repetitions_; ++repetition) {
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < kDecodeSteps; ++i)
      TETRAD_TRY(compute(step.next(first + i, 1, true)));
    // The first records graphs and warms up.
    if (repetition > 0) rates.push_back(kDecodeSteps / seconds_since(begin));
  }
  const double steps = median_of(rates);
  const int64_t keys = sequences * (first + kDecodeSteps / 2);
  return figures(steps, sequences,
                 step_cost(sequences, sequences, keys, static_cast<double>(keys)));
}

Result<json::object> GpuModelBench::prefill(int64_t prompt) {
  BenchStep step(1, prompt, config_.vocab_size, 1);
  std::vector<double> rates;
  Cost cost;
  for (int repetition = 0; repetition <= repetitions_; ++repetition) {
    const auto begin = std::chrono::steady_clock::now();
    cost = {};
    for (int64_t done = 0; done < prompt;) {
      const int64_t count = std::min(prompt - done, max_num_batched_tokens_);
      const bool is_last = done + count == prompt;
      TETRAD_TRY(compute(step.next(done, count, is_last)));
      const double pairs = static_cast<double>(count) * static_cast<double>(done) +
                           static_cast<double>(count) * static_cast<double>(count + 1) / 2;
      const Cost chunk = step_cost(count, is_last ? 1 : 0, done, pairs);
      cost.bytes += chunk.bytes;
      cost.operations += chunk.operations;
      done += count;
    }
    if (repetition > 0) rates.push_back(1 / seconds_since(begin));
  }
  return figures(median_of(rates), prompt, cost);
}

Result<json::object> GpuModelBench::profile(int64_t sequences, int64_t context, int64_t count) {
  BenchStep step(sequences, context + count + 1, config_.vocab_size, 1);
  gpu::GpuKernels& kernels = model_->kernels();
  model_->set_use_graphs(false);
  TETRAD_TRY(compute(step.next(context, count, true)));
  kernels.start_profile(info_.architecture == "emulated" ? 1 : kProfileBusyRounds);
  for (int repetition = 0; repetition < repetitions_; ++repetition) {
    if (repetition > 0) kernels.queue_up();
    TETRAD_TRY(compute(step.next(context, count, true)));
  }
  model_->set_use_graphs(true);
  TETRAD_ASSIGN(const gpu::GpuKernels::Profile profile, kernels.end_profile());
  return gpu_profile_to_json(profile, repetitions_, limits_);
}

Result<void> GpuModelBench::compute(const Batch& batch) {
  uses_.resize(batch.logits_rows.size(), {.is_whole = false, .temperature = 1});
  TETRAD_TRY(model_->start(batch, uses_));
  TETRAD_TRY(model_->finish());
  return {};
}

json::object GpuModelBench::figures(double steps_per_second, int64_t tokens,
                                    const Cost& cost) const {
  json::object object;
  object["tokens_per_second"] = steps_per_second * static_cast<double>(tokens);
  object["ms_per_step"] = 1e3 / steps_per_second;
  object["gb_per_second"] = cost.bytes * steps_per_second / 1e9;
  object["share_of_reading"] = cost.bytes * steps_per_second / 1e9 / limits_.read_gb_per_s;
  object["tflops"] = cost.operations * steps_per_second / 1e12;
  object["share_of_f16"] = cost.operations * steps_per_second / 1e12 / limits_.f16_tflops;
  return object;
}

}  // namespace tetrad
