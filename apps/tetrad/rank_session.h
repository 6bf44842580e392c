#pragma once

// The ranks that a verb computes with: threads of its process, or the processes that mpirun
// started.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "model/gpu_rank_group.h"
#include "parallel/communicator.h"
#include "parallel/neighbours.h"
#include "rank_flags.h"
#include "rank_loss.h"

namespace tetrad {

struct ModelFlags;

class RankSession {
 public:
  /// For flags that check_world() let pass; joins the others where ranks are processes. Errors:
  /// what MPI says; ranks that do not come.
  /// on_gpus: a process that ends is this one's end, too, which may wait for it on a device.
  static Result<std::unique_ptr<RankSession>> open(const RankFlags& flags, bool by_mpi,
                                                   bool on_gpus);
  /// Everything that uses the communicator must have gone.
  ~RankSession();
  RankSession(const RankSession&) = delete;
  RankSession& operator=(const RankSession&) = delete;

  /// Null where ranks are threads.
  const std::shared_ptr<parallel::Communicator>& processes() const { return processes_; }
  bool is_follower() const { return processes_ != nullptr && processes_->rank() > 0; }
  /// Of processes: those on this machine.
  const parallel::Neighbours& neighbours() const { return neighbours_; }
  const RankTimes& times() const { return times_; }
  /// What all ranks know, if they were given something.
  const std::optional<std::string>& secret() const { return secret_; }
  RankLoss& loss() { return loss_; }

  /// Said by rank 0 when all have loaded; for the log and /version.
  void describe(std::string_view communicator, int threads_of_a_rank);
  void describe_gpus(std::string_view communicator, std::string_view device,
                     const GpuRankGroup& group);
  /// Nothing before describe().
  const json::object& description() const { return description_; }

 private:
  explicit RankSession(const RankFlags& flags);
  /// Of a process on this machine that has ended.
  void noticed_end(int rank, bool on_gpus);
  void describe(std::string_view communicator, std::string_view collectives,
                const json::object& more);

  RankFlags flags_;
  RankTimes times_;
  std::optional<std::string> secret_;
  std::shared_ptr<parallel::Communicator> processes_;
  parallel::Neighbours neighbours_;
  json::object description_;
  RankLoss loss_;
  std::unique_ptr<parallel::ProcessWatch> watch_;
};

/// Runs a verb with the ranks that its flags ask for: rank 0 does `lead`, the others load what rank
/// 0 loads and compute until it lets them go. flags.session is set meanwhile. The exit status of
/// this process.
int run_with_ranks(ModelFlags& flags, const std::function<int()>& lead);

}  // namespace tetrad
