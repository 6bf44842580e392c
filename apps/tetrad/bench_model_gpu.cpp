// tetrad bench model --device gpu: the forward pass as the engine calls it, inputs copied to the
// card, and back what a sampler needs to draw among the likeliest tokens, against what the card
// reads and multiplies at most.

#include "bench_model_gpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <utility>

#include "base/percentile.h"
#include "bench_model_step.h"
#include "cli_io.h"
#include "gpu_device_flag.h"
#include "gpu_limits.h"
#include "gpu_profile.h"
#include "model/gpu_model.h"
#include "model/gpu_weight_bytes.h"
#include "model/synthetic_model.h"
#include "quant/pretty_json.h"

namespace tetrad {
namespace {

constexpr int64_t kDecodeSteps = 32;
/// Some 2 ms of multiply_add_peak, in which the host makes a step's launches.
constexpr uint32_t kProfileBusyRounds = 40000;

/// What a step reads and computes at least, StepCost's way, but for the experts that several tokens
/// go to: as many as chance picks.
struct GpuStepCost {
  double bytes = 0;
  double operations = 0;
};

GpuStepCost gpu_step_cost(const ModelConfig& config, int64_t tokens, int64_t logits,
                          int64_t keys_read, double attention_pairs) {
  const auto hidden = static_cast<double>(config.hidden_size);
  const auto experts = static_cast<double>(config.num_local_experts);
  const auto picked = static_cast<double>(config.num_experts_per_tok);
  const double projections =
      hidden * static_cast<double>(2 * config.q_size() + 2 * config.kv_size());
  const double expert = 3 * hidden * static_cast<double>(config.intermediate_size);
  const double active = experts * (1 - std::pow(1 - picked / experts, static_cast<double>(tokens)));
  const auto layers = static_cast<double>(config.num_hidden_layers);
  const double head = logits > 0 ? hidden * static_cast<double>(config.vocab_size) : 0;
  GpuStepCost cost;
  cost.bytes = gpu_weight_bytes(config).read_by_step(active, logits > 0) +
               layers * 2.0 * static_cast<double>(config.kv_size() * keys_read);
  cost.operations = 2 * (static_cast<double>(tokens) * layers *
                             (projections + picked * expert + hidden * experts) +
                         static_cast<double>(logits) * head +
                         layers * 2 * static_cast<double>(config.q_size()) * attention_pairs);
  return cost;
}

/// A model of random weights on the card, and what times it.
class GpuModelBench {
 public:
  static Result<std::unique_ptr<GpuModelBench>> create(const BenchModelFlags& flags) {
    TETRAD_ASSIGN(const SyntheticShape shape, parse_synthetic_shape(flags.shape));
    TETRAD_ASSIGN(const ModelConfig config, synthetic_config(shape));
    TETRAD_ASSIGN(auto device, open_gpu_device(flags.device));
    TETRAD_ASSIGN(gpu::GpuKernels kernels, find_gpu_kernels(*device, flags.gpu_tuning));
    TETRAD_ASSIGN(gpu::DeviceInfo info, device->info());
    TETRAD_TRY(GpuModel::check_config(config));
    TETRAD_TRY(check_gpu_weights_fit(config, info));
    TETRAD_ASSIGN(const GpuLimits limits, measure_gpu_limits(kernels));
    const auto largest = [](const std::vector<int64_t>& sizes) {
      return sizes.empty() ? int64_t{0} : *std::ranges::max_element(sizes);
    };
    const int64_t contexts = largest(flags.contexts) + kDecodeSteps + 1;
    const int64_t batch = largest(flags.batches);
    const int64_t longest =
        std::max({contexts, largest(flags.prompts) + 1, flags.batch_context + kDecodeSteps + 1});
    const int64_t blocks =
        std::max({kv_blocks_for(contexts), kv_blocks_for(largest(flags.prompts) + 1),
                  batch * kv_blocks_for(flags.batch_context + kDecodeSteps + 1)});
    TETRAD_ASSIGN(auto model,
                  GpuModel::create_random(config, 1, std::move(device), kernels,
                                          {.num_kv_blocks = blocks,
                                           .max_num_batched_tokens = flags.max_num_batched_tokens,
                                           .max_num_seqs = std::max<int64_t>(batch, 1),
                                           .max_logits_rows = std::max<int64_t>(batch, 1),
                                           .max_model_len = longest}));
    return std::unique_ptr<GpuModelBench>(new GpuModelBench(std::move(info), limits,
                                                            std::move(model), flags.repetitions,
                                                            flags.max_num_batched_tokens));
  }

  /// `sequences` of one token a step; the last step has `context` tokens before it.
  Result<json::object> decode(int64_t sequences, int64_t context) {
    const int64_t first = std::max<int64_t>(context - kDecodeSteps, 0);
    BenchStep step(sequences, first + kDecodeSteps + 1, model_->config().vocab_size, 1);
    std::vector<double> rates;
    for (int repetition = 0; repetition <= repetitions_; ++repetition) {
      const auto begin = std::chrono::steady_clock::now();
      for (int64_t i = 0; i < kDecodeSteps; ++i)
        TETRAD_TRY(compute(step.next(first + i, 1, true)));
      // The first records graphs and warms up.
      if (repetition > 0) rates.push_back(kDecodeSteps / seconds_since(begin));
    }
    const double steps = median_of(rates);
    const auto keys =
        static_cast<double>(sequences) * static_cast<double>(first + kDecodeSteps / 2);
    return figures(
        steps, sequences,
        gpu_step_cost(model_->config(), sequences, sequences, static_cast<int64_t>(keys), keys));
  }

  Result<json::object> prefill(int64_t prompt) {
    BenchStep step(1, prompt, model_->config().vocab_size, 1);
    std::vector<double> rates;
    GpuStepCost cost;
    for (int repetition = 0; repetition <= repetitions_; ++repetition) {
      const auto begin = std::chrono::steady_clock::now();
      cost = {};
      for (int64_t done = 0; done < prompt;) {
        const int64_t count = std::min(prompt - done, max_num_batched_tokens_);
        const bool is_last = done + count == prompt;
        TETRAD_TRY(compute(step.next(done, count, is_last)));
        const double pairs = static_cast<double>(count) * static_cast<double>(done) +
                             static_cast<double>(count) * static_cast<double>(count + 1) / 2;
        const GpuStepCost chunk =
            gpu_step_cost(model_->config(), count, is_last ? 1 : 0, done, pairs);
        cost.bytes += chunk.bytes;
        cost.operations += chunk.operations;
        done += count;
      }
      if (repetition > 0) rates.push_back(1 / seconds_since(begin));
    }
    return figures(median_of(rates), prompt, cost);
  }

  /// Where a step's time goes: of `sequences` with `count` tokens more after `context`.
  Result<json::object> profile(int64_t sequences, int64_t context, int64_t count) {
    BenchStep step(sequences, context + count + 1, model_->config().vocab_size, 1);
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

  const gpu::DeviceInfo& info() const { return info_; }
  const GpuLimits& limits() const { return limits_; }
  const ModelConfig& config() const { return model_->config(); }

 private:
  GpuModelBench(gpu::DeviceInfo info, const GpuLimits& limits, std::unique_ptr<GpuModel> model,
                int repetitions, int64_t max_num_batched_tokens)
      : info_(std::move(info)),
        limits_(limits),
        model_(std::move(model)),
        repetitions_(repetitions),
        max_num_batched_tokens_(max_num_batched_tokens) {}

  /// As the engine does for requests with a temperature and top_k.
  Result<void> compute(const Batch& batch) {
    uses_.resize(batch.logits_rows.size(), {.is_whole = false, .temperature = 1});
    TETRAD_TRY(model_->start(batch, uses_));
    TETRAD_TRY(model_->finish());
    return {};
  }

  static double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  json::object figures(double steps_per_second, int64_t tokens, const GpuStepCost& cost) const {
    json::object object;
    object["tokens_per_second"] = steps_per_second * static_cast<double>(tokens);
    object["ms_per_step"] = 1e3 / steps_per_second;
    object["gb_per_second"] = cost.bytes * steps_per_second / 1e9;
    object["share_of_reading"] = cost.bytes * steps_per_second / 1e9 / limits_.read_gb_per_s;
    object["tflops"] = cost.operations * steps_per_second / 1e12;
    object["share_of_f16"] = cost.operations * steps_per_second / 1e12 / limits_.f16_tflops;
    return object;
  }

  gpu::DeviceInfo info_;
  GpuLimits limits_;
  std::unique_ptr<GpuModel> model_;
  int repetitions_;
  int64_t max_num_batched_tokens_;
  std::vector<LogitsUse> uses_;
};

void print_gpu_figures(int64_t size, const json::object& figures) {
  const auto value = [&](const char* key) { return figures.at(key).as_double(); };
  fmt::print("{:>8} {:>10.1f} {:>9.3f} {:>9.0f} {:>8.1f} % {:>9.1f} {:>8.1f} %\n", size,
             value("tokens_per_second"), value("ms_per_step"), value("gb_per_second"),
             value("share_of_reading") * 100, value("tflops"), value("share_of_f16") * 100);
  std::fflush(stdout);
}

}  // namespace

int run_bench_model_gpu(const BenchModelFlags& flags) {
  auto bench = GpuModelBench::create(flags);
  if (!bench) return report(bench.error());
  GpuModelBench& gpu_bench = **bench;
  json::object results;
  results["device"] = gpu_bench.info().name;
  results["driver"] = gpu_bench.info().driver;
  results["read_gb_per_s"] = gpu_bench.limits().read_gb_per_s;
  results["f16_tflops"] = gpu_bench.limits().f16_tflops;
  results["shape"] = flags.shape;
  results["logits"] = "summary";
  if (!flags.json) {
    fmt::print("{} ({}); reads {:.0f} GB/s, multiplies {:.0f} TFLOP/s of halves\n",
               gpu_bench.info().name, gpu_bench.info().driver, gpu_bench.limits().read_gb_per_s,
               gpu_bench.limits().f16_tflops);
    fmt::print(
        "{}; {} repetitions; of the logits come the likeliest tokens\n\n{:>8} {:>10} {:>9} {:>9} "
        "{:>10} {:>9} {:>10}\n",
        flags.shape, flags.repetitions, "", "tok/s", "ms/step", "GB/s", "of reading", "TFLOP/s",
        "of f16");
    std::fflush(stdout);
  }
  struct Part {
    std::string_view name;
    std::string_view key;
    std::string title;
    const std::vector<int64_t>* sizes;
  };
  for (const Part& part :
       {Part{"decode", "context", "decode, one sequence: context", &flags.contexts},
        Part{"batched", "batch",
             fmt::format("decode at context {}: sequences", flags.batch_context), &flags.batches},
        Part{"prefill", "prompt",
             fmt::format("prefill in chunks of {}: tokens", flags.max_num_batched_tokens),
             &flags.prompts}}) {
    if (!flags.wants(part.name)) continue;
    if (!flags.json) fmt::print("{}\n", part.title);
    json::array list;
    for (const int64_t size : *part.sizes) {
      auto figures = part.name == "decode"    ? gpu_bench.decode(1, size)
                     : part.name == "batched" ? gpu_bench.decode(size, flags.batch_context)
                                              : gpu_bench.prefill(size);
      if (!figures) return report(figures.error());
      if (!flags.json) print_gpu_figures(size, *figures);
      if (flags.profile || flags.json) {
        const int64_t chunk = std::min(size, flags.max_num_batched_tokens);
        auto profile = part.name == "decode"    ? gpu_bench.profile(1, size, 1)
                       : part.name == "batched" ? gpu_bench.profile(size, flags.batch_context, 1)
                                                : gpu_bench.profile(1, size - chunk, chunk);
        if (!profile) return report(profile.error());
        if (flags.profile) print_gpu_profile(*profile);
        (*figures)["profile"] = std::move(*profile);
      }
      (*figures)[part.key] = size;
      list.push_back(std::move(*figures));
    }
    results[part.name] = std::move(list);
  }
  if (flags.json) fmt::print("{}", to_pretty_json(results));
  return kExitOk;
}

}  // namespace tetrad
