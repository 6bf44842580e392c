#include "rank_flags.h"

#include <algorithm>

#include "number_flag.h"

namespace tetrad {

void add_rank_flags(CLI::App& verb, RankFlags& flags) {
  verb.add_option("--tensor-parallel-size,--tp", flags.tensor_parallel_size,
                  "ranks that share the model, with --device cpu: threads of this process, or the "
                  "processes that mpirun started, as many")
      ->transform(as_whole_number({.from = 1, .to = 4096}))
      ->capture_default_str();
  verb.add_flag("--enable-expert-parallel,!--no-enable-expert-parallel",
                flags.enable_expert_parallel,
                "experts go to the ranks whole instead of each being cut");
  verb.add_option("--rank-timeout", flags.timeout_seconds,
                  "seconds after which a process is given up that has died, stopped or left the "
                  "network; all others have ended by then. Longer than a rank computes one layer")
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
