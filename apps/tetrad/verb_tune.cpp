// tetrad tune: which tiles and splits are fastest on this machine's GPU.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/pending_file.h"
#include "bench_model_flags.h"
#include "bench_model_step.h"
#include "cli_io.h"
#include "gpu_device_flag.h"
#include "kernels/gpu/gpu_tuner.h"
#include "model/gpu_model.h"
#include "model/gpu_weight_bytes.h"
#include "model/kv_cache.h"
#include "model/synthetic_model.h"
#include "number_flag.h"
#include "quant/pretty_json.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct TuneFlags {
  std::string device = "gpu";
  // 62 layers have one head of 200,064 rows; these 6 have a tenth of it.
  std::string shape = "layers=6,experts=256,vocab=19360";
  std::vector<int64_t> batches = {1, 2, 4, 8, 16, 48};
  std::vector<int64_t> prompts = {128, 512, 2048};
  int rounds = 5;
  std::string output;
};

/// Tokens before those of a step: attention is not what is tuned.
constexpr int64_t kTuneContext = 128;
/// A measurement repeats its step until it takes so long.
constexpr double kTuneSeconds = 0.01;
constexpr int kMostTuneRepeats = 50;

/// A model of random weights on the card, whose steps are timed.
class TuneBench {
 public:
  static Result<std::unique_ptr<TuneBench>> create(const TuneFlags& flags) {
    TETRAD_ASSIGN(const SyntheticShape shape, parse_synthetic_shape(flags.shape));
    auto config = synthetic_config(shape);
    if (!config) return tl::unexpected(at_flag(std::move(config.error()), "--shape"));
    if (auto checked = GpuModel::check_config(*config); !checked)
      return tl::unexpected(at_flag(std::move(checked.error()), "--shape"));
    TETRAD_ASSIGN(auto device, open_gpu_device(flags.device));
    TETRAD_ASSIGN(gpu::GpuKernels kernels, gpu::GpuKernels::create(*device, gpu::GpuTuning{}));
    TETRAD_ASSIGN(gpu::DeviceInfo info, device->info());
    TETRAD_TRY(check_beyond_cache(*config, info));
    TETRAD_TRY(check_gpu_weights_fit(*config, plan::rank_share(*config, {}, 0), info));
    const int64_t batch = *std::ranges::max_element(flags.batches);
    const int64_t prompt = *std::ranges::max_element(flags.prompts);
    const int64_t longest = kTuneContext + prompt + 1;
    TETRAD_ASSIGN(
        auto model,
        GpuModel::create_random(*config, 1, std::move(device), kernels,
                                {.num_kv_blocks = std::max(kv_blocks_for(longest),
                                                           batch * kv_blocks_for(kTuneContext + 1)),
                                 .max_num_batched_tokens = std::max(batch, prompt),
                                 .max_num_seqs = batch,
                                 .max_logits_rows = batch,
                                 .max_model_len = longest}));
    return std::unique_ptr<TuneBench>(new TuneBench(std::move(info), std::move(model)));
  }

  /// Seconds of one of as many repetitions as make a measurement.
  Result<double> time(const gpu::GpuTuning& tuning, const gpu::TuningStep& step, int repeats) {
    model_->kernels().set_tuning(tuning);
    const int64_t tokens = step.num_tokens;
    BenchStep batch(step.is_prefill ? 1 : tokens, kTuneContext + (step.is_prefill ? tokens : 1),
                    model_->config().vocab_size, 1);
    return model_->time_step(batch.next(kTuneContext, step.is_prefill ? tokens : 1, true), repeats);
  }

  const gpu::DeviceInfo& info() const { return info_; }
  const ModelConfig& config() const { return model_->config(); }
  uint32_t fragment_tokens() const { return model_->kernels().fragment_tokens(); }
  uint32_t least_streamed_tokens() const { return model_->least_streamed_tokens(); }

 private:
  TuneBench(gpu::DeviceInfo info, std::unique_ptr<GpuModel> model)
      : info_(std::move(info)), model_(std::move(model)) {}

  /// What a step leaves in the cache must not be what the next one reads.
  static Result<void> check_beyond_cache(const ModelConfig& config, const gpu::DeviceInfo& info) {
    const double bytes = gpu_weight_bytes(config).read_by_step(
        static_cast<double>(config.num_experts_per_tok), true);
    if (info.architecture == "emulated" || bytes >= 4.0 * static_cast<double>(info.l2_bytes))
      return {};
    return fail_param("--shape",
                      "--shape: a token reads {:.0f} MB of weights, less than four times the "
                      "cache of {} with its {:.0f} MB, which would decide; give it more layers",
                      bytes * 1e-6, info.name, static_cast<double>(info.l2_bytes) * 1e-6);
  }

  gpu::DeviceInfo info_;
  std::unique_ptr<GpuModel> model_;
};

std::vector<gpu::TuningStep> tune_steps(const TuneFlags& flags) {
  std::vector<gpu::TuningStep> steps;
  steps.reserve(flags.batches.size() + flags.prompts.size());
  for (const int64_t batch : flags.batches)
    steps.push_back({.num_tokens = static_cast<uint32_t>(batch)});
  for (const int64_t prompt : flags.prompts)
    steps.push_back({.num_tokens = static_cast<uint32_t>(prompt), .is_prefill = true});
  return steps;
}

/// Times each step once, so that it is known how often to repeat it, and says how long it all
/// takes.
Result<std::vector<int>> plan_repeats(TuneBench& bench, const gpu::TunerOptions& options) {
  const std::vector<int64_t> counts = gpu::count_tuning_times(options);
  std::vector<int> repeats;
  repeats.reserve(options.steps.size());
  double seconds = 0;
  for (size_t i = 0; i < options.steps.size(); ++i) {
    TETRAD_ASSIGN(const double once, bench.time({}, options.steps[i], 1));
    repeats.push_back(
        std::clamp(static_cast<int>(kTuneSeconds / std::max(once, 1e-9)), 1, kMostTuneRepeats));
    // And once before, to record and warm up.
    seconds += static_cast<double>(counts[i]) * once * (repeats.back() + 1);
  }
  fmt::print(stderr, "{} ({}): about {:.0f} s\n", bench.info().name, bench.info().driver, seconds);
  return repeats;
}

void print_trial(const gpu::TuningTrial& trial) {
  fmt::print(stderr, "{:<28} {:>6} {:>+8.1f} %  in {} step{}{}\n", trial.choice, trial.value,
             (trial.time_ratio - 1) * 100, trial.num_steps, trial.num_steps == 1 ? "" : "s",
             trial.is_taken ? ", taken" : "");
}

Result<gpu::GpuTuningFile> tune(const TuneFlags& flags) {
  TETRAD_ASSIGN(auto bench, TuneBench::create(flags));
  const gpu::TunerOptions options{
      .steps = tune_steps(flags),
      .num_experts = static_cast<uint32_t>(bench->config().num_local_experts),
      .num_experts_per_tok = static_cast<uint32_t>(bench->config().num_experts_per_tok),
      .fragment_tokens = bench->fragment_tokens(),
      .least_streamed_tokens = bench->least_streamed_tokens(),
      .rounds = flags.rounds,
      .tell = print_trial};
  TETRAD_ASSIGN(const std::vector<int> repeats, plan_repeats(*bench, options));
  fmt::print(stderr, "{:<28} {:>6} {:>8}\n", "choice", "value", "time");
  const auto time = [&](const gpu::GpuTuning& tuning, const gpu::TuningStep& step) {
    const auto at = std::ranges::find(options.steps, step.name(), &gpu::TuningStep::name);
    return bench->time(tuning, step, repeats[static_cast<size_t>(at - options.steps.begin())]);
  };
  TETRAD_ASSIGN(gpu::GpuTuningFile file, find_gpu_tuning(options, time));
  file.card = bench->info().name;
  file.driver = bench->info().driver;
  file.program = TETRAD_VERSION;
  file.tested = bench->info().architecture != "emulated";
  for (const gpu::TunedStep& step : file.steps)
    fmt::print(stderr, "{:<28} {:>10.1f} us, was {:.1f}\n", step.name, step.us_after,
               step.us_before);
  return file;
}

/// A file that cannot be written is known before the card is measured.
Result<void> tune_to_file(const TuneFlags& flags) {
  TETRAD_ASSIGN(PendingFile output, PendingFile::create(flags.output));
  TETRAD_ASSIGN(const gpu::GpuTuningFile file, tune(flags));
  const std::string text = to_pretty_json(file.to_json());
  TETRAD_TRY(output.write(text.data(), text.size()));
  return output.commit();
}

int run_tune(const TuneFlags& flags) {
  if (!flags.output.empty()) {
    const auto tuned = tune_to_file(flags);
    return tuned ? kExitOk : report(tuned.error());
  }
  const auto file = tune(flags);
  if (!file) return report(file.error());
  fmt::print("{}", to_pretty_json(file->to_json()));
  return kExitOk;
}

CLI::Option* add_sizes(CLI::App& verb, const std::string& flag, std::vector<int64_t>& target,
                       const std::string& description, int64_t most) {
  return verb.add_option(flag, target, description)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->transform(as_whole_number({.from = 1, .to = most}))
      ->option_text(fmt::format("N,N,... [{}]", fmt::join(target, ",")));
}

}  // namespace

void add_verb_tune(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<TuneFlags>();
  CLI::App* verb = app.add_subcommand(
      "tune", "Which sizes of the kernels' tiles and grids are fastest on this machine's GPU");
  add_gpu_device_flag(*verb, flags->device);
  verb->add_option("--shape", flags->shape, "sizes other than MiniMax-M2.7's, as in bench model")
      ->option_text(fmt::format("NAME=N,... [{}]", flags->shape));
  add_sizes(*verb, "--batches", flags->batches, "sequences of the decode steps timed", 1024);
  add_sizes(*verb, "--prompts", flags->prompts, "tokens of the prefill steps timed", 4096);
  verb->add_option("--rounds", flags->rounds, "turns of each value; the median counts")
      ->transform(as_whole_number({.from = 1, .to = 1000}))
      ->capture_default_str();
  verb->add_option("-o,--output", flags->output, "where the JSON goes; without: standard output")
      ->option_text("FILE");
  verb->footer(
      "The model's weights are random and made on the GPU. Each value of each choice takes turns\n"
      "with the one so far, on the steps that it changes, and is taken where it gains more than\n"
      "3 %. None of the choices changes a result's bits. bench model --gpu-tuning FILE uses them;\n"
      "tetrad carries those of some cards.");
  verb->callback([flags, &exit_status] { exit_status = run_tune(*flags); });
}

}  // namespace tetrad
