#pragma once

// The flags of a model that is shared between ranks, and what follows from them.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <string>

#include "plan/sharding.h"

namespace tetrad {

struct RankFlags {
  int64_t tensor_parallel_size = 1;
  bool enable_expert_parallel = false;
  double timeout_seconds = 5;
  std::string transport = "auto";  // between GPUs

  bool are_many() const { return tensor_parallel_size > 1; }
  /// In the log, of flags that are for many.
  void say_what_one_rank_ignores() const;
  plan::Layout layout() const {
    return {.tensor_parallel = tensor_parallel_size, .expert_parallel = enable_expert_parallel};
  }
};

/// --tensor-parallel-size, --enable-expert-parallel, --transport, --rank-timeout.
void add_rank_flags(CLI::App& verb, RankFlags& flags);
/// The first three, for ranks that are threads in any case.
void add_layout_flags(CLI::App& verb, RankFlags& flags, const std::string& what_ranks_are);
/// --transport alone: collectives::parse_transport takes all that it lets pass.
void add_transport_flag(CLI::App& verb, std::string& transport);

/// What --rank-timeout is made of: whoever falls silent right behind a heartbeat is missed at the
/// next one, waited for until the deadline, and the process has ended after the grace.
struct RankTimes {
  explicit RankTimes(double timeout_seconds);

  std::chrono::milliseconds heartbeat;
  std::chrono::milliseconds deadline;  // of one call of a Communicator
  std::chrono::milliseconds grace;     // for requests to hear of the end
};

/// Until all ranks have loaded their share.
inline constexpr std::chrono::minutes kLoadDeadline{30};
/// Between the GPUs of ranks that are threads, within a step; emulated ones take their time.
std::chrono::seconds gpu_deadline(const std::string& device);
/// Of ranks that are threads: they do not vanish, and a process that was stopped for a while may
/// go on. (Between GPUs a step that was stopped for longer than theirs is lost.)
inline constexpr std::chrono::hours kThreadsDeadline{24};

}  // namespace tetrad
