// tetrad bench model: speed of a whole synthetic MiniMax-M2 against the limits of this machine.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "bench_model_flags.h"
#include "bench_model_gpu.h"
#include "bench_model_output.h"
#include "bench_model_run.h"
#include "cli_io.h"
#include "plan/planned_model.h"
#include "plan/rank_share.h"
#include "quant/pretty_json.h"
#include "verbs.h"

namespace tetrad {
namespace {

using MeasureModel = ModelFigures (ModelBench::*)(int64_t);

/// A part with the sizes that it is measured at; none where it is not wanted.
struct BenchModelTask {
  BenchModelPart part;
  std::vector<int64_t> sizes;
  MeasureModel measure = nullptr;

  int64_t largest() const {
    return sizes.empty() ? 0 : *std::max_element(sizes.begin(), sizes.end());
  }
};

std::vector<BenchModelTask> bench_model_tasks(const BenchModelFlags& flags) {
  std::vector<BenchModelTask> tasks = {{kDecodePart, flags.contexts, &ModelBench::decode},
                                       {kBatchedPart, flags.batches, &ModelBench::batched},
                                       {kPrefillPart, flags.prompts, &ModelBench::prefill}};
  for (BenchModelTask& task : tasks) {
    if (!flags.wants(task.part.name)) task.sizes.clear();
  }
  return tasks;
}

/// What belongs to a part that --only leaves out would do nothing.
Result<void> check_flags_have_a_part(const CLI::App& verb, const BenchModelFlags& flags) {
  struct Owner {
    const char* flag;
    BenchModelPart part;
  };
  for (const auto& [flag, part] :
       {Owner{"--contexts", kDecodePart}, Owner{"--batches", kBatchedPart},
        Owner{"--prompts", kPrefillPart}, Owner{"--max-num-batched-tokens", kPrefillPart}}) {
    if (verb.count(flag) == 0 || flags.wants(part.name)) continue;
    return fail_param(flag, "{} belongs to --only {}", flag, part.name);
  }
  return {};
}

Result<void> check_no_gpu_flags(const CLI::App& verb) {
  for (const char* flag : {"--gpu-tuning", "--transport"}) {
    if (verb.count(flag) > 0) return fail_param(flag, "{} belongs to --device gpu", flag);
  }
  return {};
}

Result<ModelBench> create_bench(const BenchModelFlags& flags,
                                const std::vector<BenchModelTask>& tasks) {
  ModelBenchOptions options{.kernels = flags.kernels,
                            .threads = flags.threads,
                            .repetitions = flags.repetitions,
                            .max_num_batched_tokens = flags.max_num_batched_tokens,
                            .longest_context = tasks[0].largest(),
                            .longest_prompt = tasks[2].largest(),
                            .largest_batch = tasks[1].largest()};
  TETRAD_ASSIGN(const SyntheticShape shape, parse_synthetic_shape(flags.shape));
  auto config = synthetic_config(shape);
  if (!config) return tl::unexpected(at_flag(std::move(config.error()), "--shape"));
  options.config = std::move(*config);
  options.layout = flags.ranks.layout();
  TETRAD_ASSIGN(const plan::PlannedModel planned, plan::planned_model(options.config, {}));
  TETRAD_TRY(plan::check_layout(planned, options.layout));
  return ModelBench::create(options);
}

void run_task(ModelBench& bench, const BenchModelTask& task, bool profile, json::object* results) {
  if (task.sizes.empty()) return;
  if (results == nullptr) print_bench_model_part(task.part);
  json::array list;
  for (const int64_t size : task.sizes) {
    const ModelFigures figures = (bench.*task.measure)(size);
    if (results == nullptr) {
      print_model_figures(figures);
      if (profile) print_operation_shares(figures);
    } else {
      list.push_back(model_figures_to_json(task.part, figures));
    }
  }
  if (results != nullptr) (*results)[task.part.name] = std::move(list);
}

int run_bench_model(const CLI::App& verb, const BenchModelFlags& flags) {
  if (const auto checked = check_flags_have_a_part(verb, flags); !checked)
    return report(checked.error());
  if (flags.device != "cpu") return run_bench_model_gpu(flags);
  if (const auto checked = check_no_gpu_flags(verb); !checked) return report(checked.error());
  if (!flags.ranks.are_many()) flags.ranks.say_what_one_rank_ignores();
  const std::vector<BenchModelTask> tasks = bench_model_tasks(flags);
  auto bench = create_bench(flags, tasks);
  if (!bench) return report(bench.error());
  if (!flags.json) print_bench_model_header(*bench, flags.repetitions);
  json::object results = bench_model_to_json(*bench);
  results["repetitions"] = flags.repetitions;
  results["max_num_batched_tokens"] = flags.max_num_batched_tokens;
  for (const BenchModelTask& task : tasks)
    run_task(*bench, task, flags.profile, flags.json ? &results : nullptr);
  if (flags.json) fmt::print("{}", to_pretty_json(results));
  return kExitOk;
}

}  // namespace

void add_bench_model(CLI::App& bench, int& exit_status) {
  auto flags = std::make_shared<BenchModelFlags>();
  CLI::App* verb = bench.add_subcommand(
      "model",
      "Speed of decode and prefill, of a model made in memory, against the machine's limits");
  add_bench_model_flags(*verb, *flags);
  verb->footer(
      "The model is a MiniMax-M2.7 of random weights, mxfp4_16 but for the routers, with an FP8\n"
      "KV cache and activations in 8 bits. Tokens are random, too, and a decode's context is not\n"
      "computed but random keys and values. Sampling is not part of it. Bytes are those that a\n"
      "step reads at least: each matrix once, of the experts those that its tokens go to, and "
      "keys\n"
      "and values. Operations are two for each multiply-add of matrices and attention. Shares are\n"
      "of what this machine reads from memory, or multiplies as int8, just before and after each\n"
      "run: medians of the runs; the limit beside a share is the median of its measurements. What\n"
      "caches hold is read faster than the limit.");
  verb->callback([verb, flags, &exit_status] { exit_status = run_bench_model(*verb, *flags); });
}

}  // namespace tetrad
