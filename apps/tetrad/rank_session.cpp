#include "rank_session.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/log.h"
#include "cli_io.h"
#include "compute_device.h"
#include "exit_timer.h"
#include "loaded_model.h"
#include "model_ranks.h"
#include "parallel/message_key.h"
#include "parallel/mpi_ranks.h"
#include "process_world.h"

namespace tetrad {

RankSession::RankSession(const RankFlags& flags)
    : flags_(flags), times_(flags.timeout_seconds), loss_(times_.grace) {}

Result<std::unique_ptr<RankSession>> RankSession::open(const RankFlags& flags, bool by_mpi,
                                                       bool on_gpus) {
  std::unique_ptr<RankSession> session(new RankSession(flags));
  TETRAD_ASSIGN(session->secret_, parallel::secret_of_environment());
  if (!by_mpi) return session;
  TETRAD_ASSIGN(session->processes_, parallel::join_mpi_ranks(kLoadDeadline));
  parallel::Communicator& ranks = *session->processes_;
  if (ranks.size() != flags.tensor_parallel_size) {
    return fail_param(
        "--tensor-parallel-size",
        "--tensor-parallel-size {}: MPI has {} ranks; is the mpirun that started them "
        "of another MPI than tetrad?",
        flags.tensor_parallel_size, ranks.size());
  }
  TETRAD_ASSIGN(session->neighbours_, parallel::find_neighbours(ranks));
  session->watch_ = std::make_unique<parallel::ProcessWatch>(
      session->neighbours_.others,
      [of = session.get(), on_gpus](int rank) { of->noticed_end(rank, on_gpus); });
  return session;
}

void RankSession::noticed_end(int rank, bool on_gpus) {
  std::string reason =
      fmt::format("the process of rank {} of {} has ended", rank, processes_->size());
  processes_->give_up(reason);
  // Rank 0 notices at its next heartbeat. What waits on a device is ended by when_broken(); a rank
  // that still loads may wait elsewhere.
  if (on_gpus && is_follower()) loss_.lost({ErrorCode::io, std::move(reason), ""});
}

/// The others end together with this one, and what is watched is no loss any more. MPI's own end
/// waits for all, of whom one may vanish at this moment.
RankSession::~RankSession() {
  watch_.reset();
  if (processes_ == nullptr) return;
  const ExitTimer timer(times_.deadline, "the other ranks do not end");
  processes_.reset();
}

void RankSession::describe(std::string_view communicator, std::string_view collectives,
                           const json::object& more) {
  description_ = {{"tensor_parallel_size", flags_.tensor_parallel_size},
                  {"expert_parallel", flags_.enable_expert_parallel},
                  {"communicator", communicator},
                  {"collectives", collectives},
                  {"rank_timeout", flags_.timeout_seconds}};
  for (const auto& [key, value] : more)
    description_[key] = value;
  log::info("{} ranks, {}, experts {}; sums {}", flags_.tensor_parallel_size, communicator,
            flags_.enable_expert_parallel ? "dealt out whole" : "cut", collectives);
}

void RankSession::describe(std::string_view communicator, int threads_of_a_rank) {
  describe(communicator,
           processes_ == nullptr ? "through shared memory, added in the order of the ranks"
                                 : "messages between two ranks each, added in the order of the "
                                   "ranks",
           {{"threads_of_rank_0", threads_of_a_rank}});
  log::info("{} threads on rank 0", threads_of_a_rank);
}

void RankSession::describe_gpus(std::string_view communicator, std::string_view device,
                                const GpuRankGroup& group) {
  json::object more = {{"device_of_rank_0", device}, {"transport", group.transport()}};
  if (!group.transport_reason().empty()) {
    more["not_over_others"] = group.transport_reason();
    log::info("between the GPUs not over others: {}", group.transport_reason());
  }
  describe(communicator,
           fmt::format("over {} between the GPUs, added in {}", group.transport(),
                       group.adds_in_rank_order() ? "the order of the ranks"
                                                  : "an order that is the library's"),
           more);
}

namespace {

/// Until rank 0 lets this one go. Signals are for rank 0, who ends what it has begun; a starter
/// sends them to all.
int run_follower(const ModelFlags& flags, RankSession& session) {
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGTERM, SIG_IGN);
  auto followed = follow_as_process(flags, session);
  if (followed) return kExitOk;
  return report(
      std::move(followed.error()).in(fmt::format("rank {}", session.processes()->rank())));
}

Result<void> check_ranks(const ModelFlags& flags, const std::optional<ProcessWorld>& world) {
  TETRAD_ASSIGN(const auto pods, pod_group(variable_of_process));
  TETRAD_TRY(check_world(flags.ranks.tensor_parallel_size, world, pods, parallel::has_mpi()));
  if (flags.ranks.transport == "auto" || is_gpu(flags.device)) return {};
  return fail_param("--transport", "--transport {} is for ranks on GPUs, and this is --device {}",
                    flags.ranks.transport, flags.device);
}

}  // namespace

int run_with_ranks(ModelFlags& flags, const std::function<int()>& lead) {
  const auto found = mpi_world(variable_of_process);
  if (!found) return report(found.error());
  const std::optional<ProcessWorld> world = *found;
  if (const auto checked = check_ranks(flags, world); !checked) {
    // Every process finds the same; one says it.
    return world && world->rank > 0 ? kExitUsage : report(checked.error());
  }
  if (!flags.ranks.are_many()) {
    flags.ranks.say_what_one_rank_ignores();
    return lead();
  }
  auto session = RankSession::open(flags.ranks, world.has_value(), is_gpu(flags.device));
  if (!session) return report(session.error());
  flags.session = std::move(*session);
  const bool is_follower = flags.session->is_follower();
  int status = is_follower ? run_follower(flags, *flags.session) : lead();
  if (flags.session->loss().is_lost()) status = kExitFailed;
  flags.session = nullptr;
  if (status != kExitOk) {
    // MPI's library may have something to wait for at the end of its process, too.
    std::fflush(nullptr);
    std::_Exit(status);
  }
  return status;
}

}  // namespace tetrad
