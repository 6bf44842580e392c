// tetrad bench limits: what this machine can do at most.

#include <fmt/format.h>

#include <memory>
#include <string_view>

#include "base/log.h"
#include "cli_io.h"
#include "cpu_limits_cache.h"
#include "gpu_limits.h"
#include "kernels/cpu_limits.h"
#include "number_flag.h"
#include "quant/pretty_json.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct BenchLimitsFlags {
  int threads = 0;
  std::string device = "cpu";
  bool json = false;
};

void print_limit(std::string_view what, std::string_view unit, const CpuLimit& limit) {
  for (const LimitFigure& figure : limit.by_threads) {
    fmt::print("{:<18} {:>7} {:>10.1f} {:>10.1f}  {:<6} {}\n", what, figure.threads, figure.median,
               figure.best, unit, limit.isa);
  }
}

void print_limits(const CpuLimits& limits) {
  fmt::print("{}, {} MiB read\n\n", limits.cpu, limits.read_bytes >> 20);
  fmt::print("{:<18} {:>7} {:>10} {:>10}  {:<6} {}\n", "what", "threads", "median", "best", "unit",
             "instruction set");
  print_limit("reading memory", "GB/s", limits.read_gb_per_s);
  print_limit("int8 multiply-add", "Gop/s", limits.int8_gops);
  print_limit("bf16 multiply-add", "Gop/s", limits.bf16_gops);
  print_limit("fp32 multiply-add", "Gop/s", limits.f32_gops);
  print_limit("byte table", "GB/s", limits.byte_table_gb_per_s);
}

int run_bench_limits(const BenchLimitsFlags& flags) {
  if (flags.device == "gpu") return run_bench_gpu_limits(flags.json);
  const auto limits = measure_cpu_limits(flags.threads);
  if (!limits) return report(limits.error());
  if (flags.json) {
    fmt::print("{}", to_pretty_json(cpu_limits_to_json(*limits)));
  } else {
    print_limits(*limits);
  }
  if (const auto stored = store_cpu_limits(*limits); stored) {
    log::info("kept for other benchmarks in {}", stored->string());
  } else {
    log::warn("not kept for other benchmarks: {}", stored.error().message);
  }
  return kExitOk;
}

}  // namespace

void add_bench_limits(CLI::App& bench, int& exit_status) {
  auto flags = std::make_shared<BenchLimitsFlags>();
  CLI::App* verb =
      bench.add_subcommand("limits", "The most that this machine's memory and processors can do");
  verb->add_option("--threads", flags->threads, "most threads; 0: one for each processor")
      ->transform(as_whole_number({.from = 0, .to = 1024}));
  verb->add_option("--device", flags->device, "cpu, or gpu: the first that this build has code for")
      ->check(CLI::IsMember({"cpu", "gpu"}));
  verb->add_flag("--json", flags->json, "figures as JSON");
  verb->footer(
      "A multiply-add counts as two operations. Memory is read, not written, over 1 GiB or a\n"
      "quarter of what is free; the byte table has 16 entries and its indices are in the\n"
      "first-level cache. Each figure is the median and the best of 25 runs of at least 40 ms. "
      "They\n"
      "mean something on an idle machine only. Other benchmarks find them in\n"
      "$XDG_CACHE_HOME/tetrad/cpu_limits.json.");
  verb->callback([flags, &exit_status] { exit_status = run_bench_limits(*flags); });
}

}  // namespace tetrad
