// tetrad bench model --device gpu: the forward pass as the engine calls it, against what the card
// reads and multiplies at most; by one card, or by ranks that are threads with a card each.

#include "bench_model_gpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "cli_io.h"
#include "gpu_device_flag.h"
#include "gpu_model_bench.h"
#include "gpu_profile.h"
#include "model/synthetic_model.h"
#include "parallel/agreement.h"
#include "parallel/in_process.h"
#include "plan/planned_model.h"
#include "quant/pretty_json.h"

namespace tetrad {
namespace {

using RankEnd = std::shared_ptr<parallel::Communicator>;

void print_gpu_figures(int64_t size, const json::object& figures) {
  const auto value = [&](const char* key) { return figures.at(key).as_double(); };
  fmt::print("{:>8} {:>10.1f} {:>9.3f} {:>9.0f} {:>8.1f} % {:>9.1f} {:>8.1f} %\n", size,
             value("tokens_per_second"), value("ms_per_step"), value("gb_per_second"),
             value("share_of_reading") * 100, value("tflops"), value("share_of_f16") * 100);
  std::fflush(stdout);
}

struct BenchPart {
  std::string_view name;
  std::string_view key;
  std::string title;
  const std::vector<int64_t>* sizes;
};

std::vector<BenchPart> parts_of(const BenchModelFlags& flags) {
  return {{"decode", "context", "decode, one sequence: context", &flags.contexts},
          {"batched", "batch", fmt::format("decode at context {}: sequences", flags.batch_context),
           &flags.batches},
          {"prefill", "prompt",
           fmt::format("prefill in chunks of {}: tokens", flags.max_num_batched_tokens),
           &flags.prompts}};
}

json::object head_to_json(const BenchModelFlags& flags, const GpuModelBench& bench) {
  json::object results;
  results["device"] = bench.info().name;
  results["driver"] = bench.info().driver;
  results["read_gb_per_s"] = bench.limits().read_gb_per_s;
  results["f16_tflops"] = bench.limits().f16_tflops;
  results["shape"] = flags.shape;
  results["logits"] = "summary";
  results["max_num_batched_tokens"] = flags.max_num_batched_tokens;
  results["tensor_parallel_size"] = flags.ranks.tensor_parallel_size;
  if (!flags.ranks.are_many()) return results;
  results["expert_parallel"] = flags.ranks.enable_expert_parallel;
  results["transport"] = bench.ranks().transport();
  results["not_over_others"] = bench.ranks().transport_reason();
  return results;
}

void print_head(const BenchModelFlags& flags, const GpuModelBench& bench) {
  fmt::print("{} ({}); reads {:.0f} GB/s, multiplies {:.0f} TFLOP/s of halves\n", bench.info().name,
             bench.info().driver, bench.limits().read_gb_per_s, bench.limits().f16_tflops);
  if (flags.ranks.are_many()) {
    fmt::print("{} ranks with a GPU each, experts {}, sums over {}; shares are those of rank 0\n",
               flags.ranks.tensor_parallel_size,
               flags.ranks.enable_expert_parallel ? "dealt out whole" : "cut",
               bench.ranks().transport());
    if (!bench.ranks().transport_reason().empty())
      fmt::print("not over others: {}\n", bench.ranks().transport_reason());
  }
  fmt::print(
      "{}; {} repetitions; of the logits come the likeliest tokens\n\n{:>8} {:>10} {:>9} {:>9} "
      "{:>10} {:>9} {:>10}\n",
      flags.shape, flags.repetitions, "", "tok/s", "ms/step", "GB/s", "of reading", "TFLOP/s",
      "of f16");
  std::fflush(stdout);
}

Result<json::object> measure_part(GpuModelBench& bench, const BenchModelFlags& flags,
                                  const BenchPart& part, int64_t size) {
  if (part.name == "decode") return bench.decode(1, size);
  if (part.name == "batched") return bench.decode(size, flags.batch_context);
  return bench.prefill(size);
}

Result<json::object> profile_part(GpuModelBench& bench, const BenchModelFlags& flags,
                                  const BenchPart& part, int64_t size) {
  if (part.name == "decode") return bench.profile(1, size, 1);
  if (part.name == "batched") return bench.profile(size, flags.batch_context, 1);
  const int64_t chunk = std::min(size, flags.max_num_batched_tokens);
  return bench.profile(1, size - chunk, chunk);
}

/// Every rank measures the same in the same order, and one says it.
Result<void> run_parts(GpuModelBench& bench, const BenchModelFlags& flags, bool says) {
  const bool prints = says && !flags.json;
  if (prints) print_head(flags, bench);
  json::object results = head_to_json(flags, bench);
  for (const BenchPart& part : parts_of(flags)) {
    if (!flags.wants(part.name)) continue;
    if (prints) fmt::print("{}\n", part.title);
    json::array list;
    for (const int64_t size : *part.sizes) {
      TETRAD_ASSIGN(json::object figures, measure_part(bench, flags, part, size));
      if (prints) print_gpu_figures(size, figures);
      if (flags.profile || flags.json) {
        TETRAD_ASSIGN(json::object profile, profile_part(bench, flags, part, size));
        if (prints) print_gpu_profile(profile);
        figures["profile"] = std::move(profile);
      }
      figures[part.key] = size;
      list.push_back(std::move(figures));
    }
    results[part.name] = std::move(list);
  }
  if (says && flags.json) fmt::print("{}", to_pretty_json(results));
  return {};
}

Result<void> run_alone(const BenchModelFlags& flags, const ModelConfig& config) {
  TETRAD_ASSIGN(auto device, open_gpu_device(flags.device));
  TETRAD_ASSIGN(const auto bench, GpuModelBench::create(flags, config, std::move(device), nullptr));
  return run_parts(*bench, flags, true);
}

Result<void> run_rank(const BenchModelFlags& flags, const ModelConfig& config, const RankEnd& end,
                      Result<std::unique_ptr<gpu::Device>> opened) {
  TETRAD_TRY(parallel::agree(*end, opened));
  TETRAD_ASSIGN(const collectives::Transport transport,
                collectives::parse_transport(flags.ranks.transport));
  const GpuRanks ranks{.ranks = end,
                       .layout = flags.ranks.layout(),
                       .options = {.transport = transport, .deadline = gpu_deadline(flags.device)},
                       .ranks_here = end->size()};
  TETRAD_ASSIGN(const auto bench, GpuModelBench::create(flags, config, std::move(*opened), &ranks));
  return run_parts(*bench, flags, end->rank() == 0);
}

Result<void> run_ranks(const BenchModelFlags& flags, const ModelConfig& config) {
  TETRAD_ASSIGN(const plan::PlannedModel planned, plan::planned_model(config, {}));
  TETRAD_TRY(plan::check_layout(planned, flags.ranks.layout()));
  TETRAD_ASSIGN(auto first, open_gpu_device(flags.device));
  TETRAD_ASSIGN(const gpu::DeviceInfo info, first->info());
  const int64_t size = flags.ranks.tensor_parallel_size;
  TETRAD_TRY(GpuRankGroup::check_gpus(info, size, size));
  auto ends = parallel::make_in_process_ranks(static_cast<int>(size), kThreadsDeadline);
  std::vector<std::thread> threads;
  std::vector<Result<void>> results(ends.size());
  for (size_t rank = 1; rank < ends.size(); ++rank) {
    threads.emplace_back([&, rank, end = RankEnd(std::move(ends[rank]))]() mutable {
      results[rank] = run_rank(flags, config, std::exchange(end, nullptr),
                               open_gpu_device(flags.device, static_cast<int>(rank)));
    });
  }
  results[0] = run_rank(flags, config, std::move(ends[0]), std::move(first));
  for (std::thread& thread : threads)
    thread.join();
  // What failed by itself, before those who missed it.
  const auto is_cause = [](const Result<void>& result) {
    return !result && result.error().code != ErrorCode::io;
  };
  auto failed = std::ranges::find_if(results, is_cause);
  if (failed == results.end())
    failed = std::ranges::find_if(results, [](const Result<void>& result) { return !result; });
  if (failed == results.end()) return {};
  return tl::unexpected(
      std::move(failed->error()).in(fmt::format("rank {}", failed - results.begin())));
}

Result<void> run_bench(const BenchModelFlags& flags) {
  TETRAD_ASSIGN(const SyntheticShape shape, parse_synthetic_shape(flags.shape));
  TETRAD_ASSIGN(const ModelConfig config, synthetic_config(shape));
  if (flags.ranks.are_many()) return run_ranks(flags, config);
  flags.ranks.say_what_one_rank_ignores();
  return run_alone(flags, config);
}

}  // namespace

int run_bench_model_gpu(const BenchModelFlags& flags) {
  const Result<void> done = run_bench(flags);
  return done ? kExitOk : report(done.error());
}

}  // namespace tetrad
