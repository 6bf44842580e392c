// tetrad bench collectives: sums between GPUs, checked and timed.

#include <fmt/format.h>

#include <memory>
#include <string>
#include <thread>

#include "byte_size_flag.h"
#include "cli_io.h"
#include "forked_processes.h"
#include "gpu_device_flag.h"
#include "measure_collectives.h"
#include "number_flag.h"
#include "parallel/forked_ranks.h"
#include "quant/pretty_json.h"
#include "rank_flags.h"
#include "verbs.h"

namespace tetrad {
namespace {

constexpr std::chrono::milliseconds kProbeTime{60'000};

struct BenchCollectivesFlags {
  std::string device = "gpu";
  int ranks = 2;
  std::string ranks_as = "processes";
  std::string transport = "auto";
  int64_t one_shot_bytes = -1;
  int64_t few_bytes = -1;
  int timeout_s = 120;
  bool json = false;
  CollectiveMeasurement what{
      .sizes = {1 << 10, 12 << 10, 48 << 10, 192 << 10, 576 << 10, 2 << 20, 8 << 20}};
};

/// How many GPUs there are, by a process of its own; 1 where that is not to be found out here.
int count_gpus(const BenchCollectivesFlags& flags) {
  ForkedProcesses probe;
  const auto started = probe.start([&] {
    const auto device = open_gpu_device(flags.device);
    const auto info = device ? (*device)->info() : tl::unexpected(device.error());
    return info ? info->num_devices : 1;
  });
  if (!started) return 1;
  const auto counted = probe.wait(kProbeTime);
  return counted && *counted >= 1 && *counted < 128 ? *counted : 1;
}

std::string sharing_note(const BenchCollectivesFlags& flags, int num_gpus) {
  if (flags.ranks <= num_gpus) return "";
  if (flags.ranks_as == "threads")
    return "ranks share a GPU: their kernels run at the same time, and no message leaves it";
  return "ranks share a GPU and are processes: without MPS they have it by turns, so these times "
         "are those of turns, not of messages";
}

void print_collectives(const BenchCollectivesFlags& flags, int num_gpus,
                       const gpu::DeviceInfo& info, const CollectiveFigures& figures) {
  const std::string note = sharing_note(flags, num_gpus);
  const int gpus_used = std::min(num_gpus, flags.ranks);
  if (flags.json) {
    json::array sizes;
    for (const CollectiveTimes& times : figures.all_reduce)
      sizes.push_back({{"bytes", times.bytes},
                       {"launched_us", times.launched_us},
                       {"graph_us", times.graph_us}});
    fmt::print("{}", to_pretty_json(json::object{{"device", info.name},
                                                 {"driver", info.driver},
                                                 {"ranks", flags.ranks},
                                                 {"ranks_as", flags.ranks_as},
                                                 {"gpus", gpus_used},
                                                 {"transport", figures.transport},
                                                 {"reason", figures.reason},
                                                 {"note", note},
                                                 {"calls", flags.what.calls},
                                                 {"rounds", flags.what.rounds},
                                                 {"all_reduce", sizes}}));
    return;
  }
  fmt::print("{} ({}, {}): {} ranks as {} on {} GPU{}, over {}\n", info.name, info.architecture,
             info.driver, flags.ranks, flags.ranks_as, gpus_used, gpus_used == 1 ? "" : "s",
             figures.transport);
  if (!figures.reason.empty()) fmt::print("not over others: {}\n", figures.reason);
  if (!note.empty()) fmt::print("{}\n", note);
  fmt::print("all sums are right; us a call, median of {} rounds of {} calls, slowest rank\n\n",
             flags.what.rounds, flags.what.calls);
  fmt::print("{:>10} {:>12} {:>12}\n", "bytes", "launched", "in a graph");
  for (const CollectiveTimes& times : figures.all_reduce)
    fmt::print("{:>10} {:>12.2f} {:>12.2f}\n", times.bytes, times.launched_us, times.graph_us);
}

/// An exit status.
int run_rank(const BenchCollectivesFlags& flags, int num_gpus, parallel::Communicator& ranks) {
  const auto failed = [&](const Error& error) {
    return report(Error(error).in(fmt::format("rank {}", ranks.rank())));
  };
  auto device = open_gpu_device(flags.device, ranks.rank() % num_gpus);
  if (!device) return failed(device.error());
  auto kernels = gpu::GpuKernels::create(**device);
  if (!kernels) return failed(kernels.error());
  const auto transport = collectives::parse_transport(flags.transport);
  if (!transport) return failed(transport.error());
  const auto figures = measure_collectives(*kernels, ranks,
                                           {.transport = *transport,
                                            .one_shot_bytes = flags.one_shot_bytes,
                                            .few_bytes = flags.few_bytes},
                                           flags.what);
  if (!figures) return failed(figures.error());
  const auto info = (*device)->info();
  if (!info) return failed(info.error());
  if (ranks.rank() == 0) print_collectives(flags, num_gpus, *info, *figures);
  return kExitOk;
}

int run_threads(const BenchCollectivesFlags& flags, int num_gpus) {
  auto ends = parallel::make_in_process_ranks(flags.ranks);
  std::vector<int> statuses(ends.size());
  std::vector<std::thread> threads;
  threads.reserve(ends.size());
  for (size_t rank = 0; rank < ends.size(); ++rank) {
    threads.emplace_back([&, rank] {
      const auto end = std::move(ends[rank]);
      statuses[rank] = run_rank(flags, num_gpus, *end);
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  return std::ranges::max(statuses);
}

/// What was not said: less where processes take turns, of milliseconds each.
void choose_counts(BenchCollectivesFlags& flags, int num_gpus) {
  const bool by_turns = flags.ranks > num_gpus && flags.ranks_as == "processes";
  const bool is_emulated = flags.device != "gpu";
  if (flags.what.calls == 0) flags.what.calls = is_emulated ? 2 : by_turns ? 10 : 50;
  if (flags.what.rounds == 0) flags.what.rounds = is_emulated ? 1 : by_turns ? 3 : 20;
}

int run_bench_collectives(BenchCollectivesFlags flags) {
  for (const int64_t bytes : flags.what.sizes) {
    if (bytes < 4 || bytes % 4 != 0)
      return report(
          fail_param("--sizes", "{} bytes are not a number of float32 values", bytes).value());
  }
  const int num_gpus = flags.device == "gpu" ? count_gpus(flags) : flags.ranks;
  choose_counts(flags, num_gpus);
  ForkedProcesses processes;
  if (flags.ranks_as == "threads") {
    if (auto started = processes.start([&] { return run_threads(flags, num_gpus); }); !started)
      return report(started.error());
  } else {
    auto ranks = parallel::ForkedRanks::create(flags.ranks);
    if (!ranks) return report(ranks.error());
    for (int rank = 0; rank < flags.ranks; ++rank) {
      auto started = processes.start([&] {
        const auto end = std::move(*ranks).join(rank);
        return run_rank(flags, num_gpus, *end);
      });
      if (!started) return report(started.error());
    }
    // The ranks alone have them, and notice when one ends.
    const auto closed = std::move(*ranks);
  }
  const auto ended = processes.wait(std::chrono::seconds(flags.timeout_s));
  if (!ended) return report(ended.error());
  return *ended == kExitOk ? kExitOk : kExitFailed;
}

}  // namespace

void add_bench_collectives(CLI::App& bench, int& exit_status) {
  auto flags = std::make_shared<BenchCollectivesFlags>();
  CLI::App* verb = bench.add_subcommand(
      "collectives", "Sums between GPUs that compute one model: checked, then timed");
  add_gpu_device_flag(*verb, flags->device);
  verb->add_option("--ranks", flags->ranks, "how many; rank r is on GPU r modulo those there are")
      ->transform(as_whole_number({.from = 1, .to = 8}))
      ->capture_default_str();
  verb->add_option("--ranks-as", flags->ranks_as, "processes, or threads of one process")
      ->check(CLI::IsMember({"processes", "threads"}))
      ->capture_default_str();
  add_transport_flag(*verb, flags->transport);
  verb->add_option("--one-shot-bytes", flags->one_shot_bytes,
                   "up to which each rank tells all values to all; above, each adds up a share")
      ->transform(as_byte_size());
  verb->add_option("--few-bytes", flags->few_bytes,
                   "up to which values are sent with an epoch beside each; 1: none are")
      ->transform(as_byte_size());
  verb->add_option("--sizes", flags->what.sizes, "bytes of the messages: 1KiB,12KiB,...")
      ->delimiter(',')
      ->transform(as_byte_size())
      ->option_text("SIZE,SIZE,... [1KiB to 8MiB]");
  verb->add_option("--calls", flags->what.calls,
                   "in a row, and in a graph; 50, or 10 where processes share a GPU by turns")
      ->transform(as_whole_number({.from = 1, .to = 10'000}));
  verb->add_option("--rounds", flags->what.rounds, "whose median counts; 20, or 3 there")
      ->transform(as_whole_number({.from = 1, .to = 10'000}));
  verb->add_option("--timeout", flags->timeout_s, "seconds after which it is ended")
      ->transform(as_whole_number({.from = 1, .to = 3600}))
      ->capture_default_str();
  verb->add_flag("--json", flags->json, "figures as JSON");
  verb->callback([flags, &exit_status] { exit_status = run_bench_collectives(*flags); });
}

}  // namespace tetrad
