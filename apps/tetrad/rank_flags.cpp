#include "rank_flags.h"

#include <algorithm>

#include "base/log.h"
#include "number_flag.h"

namespace tetrad {

std::chrono::seconds gpu_deadline(const std::string& device) {
  return device == "gpu" ? std::chrono::seconds(30) : std::chrono::minutes(10);
}

void add_transport_flag(CLI::App& verb, std::string& transport) {
  verb.add_option("--transport", transport,
                  "what carries messages between GPUs. peer: each other's memory; host: the "
                  "machine's; nccl: NCCL or RCCL; auto: the first of these that works")
      ->check(CLI::IsMember({"auto", "peer", "host", "nccl"}))
      ->capture_default_str();
}

void add_layout_flags(CLI::App& verb, RankFlags& flags, const std::string& what_ranks_are) {
  verb.add_option("--tensor-parallel-size,--tp", flags.tensor_parallel_size, what_ranks_are)
      ->transform(as_whole_number({.from = 1, .to = 4096}))
      ->capture_default_str();
  verb.add_flag("--enable-expert-parallel,!--no-enable-expert-parallel",
                flags.enable_expert_parallel,
                "experts go to the ranks whole instead of each being cut");
  add_transport_flag(verb, flags.transport);
}

void RankFlags::say_what_one_rank_ignores() const {
  if (enable_expert_parallel)
    log::info("--enable-expert-parallel does nothing: one rank has all experts");
  if (transport != "auto") log::info("--transport does nothing: one rank has nobody to tell");
}

void add_rank_flags(CLI::App& verb, RankFlags& flags) {
  add_layout_flags(verb, flags,
                   "ranks that share the model: threads of this process, or the processes that "
                   "mpirun started, as many. With --device gpu each has a GPU, from the first on");
  verb.add_option(
          "--rank-timeout", flags.timeout_seconds,
          "seconds after which a process is given up that has died, stopped or left the "
          "network; all others have ended by then. Longer than a rank computes one layer, on "
          "GPUs one step")
      ->transform(as_number({.from = 1, .to = 3600}))
      ->capture_default_str();
}

RankTimes::RankTimes(double timeout_seconds) {
  const std::chrono::milliseconds total(static_cast<int64_t>(timeout_seconds * 1000));
  heartbeat = std::min<std::chrono::milliseconds>(std::chrono::seconds(1), total / 5);
  grace = heartbeat;
  deadline = total - heartbeat - grace;
}

}  // namespace tetrad
