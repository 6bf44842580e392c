#include "model_ranks.h"

#include <string>
#include <utility>

#include "base/free_memory.h"
#include "base/log.h"
#include "model/following_model.h"
#include "model/leading_model.h"
#include "model/rank_agreement.h"
#include "parallel/in_process.h"
#include "parallel/message_key.h"
#include "plan/planned_model.h"
#include "plan/rank_share.h"
#include "processor_share.h"

namespace tetrad {
namespace {

using RankEnd = std::shared_ptr<parallel::Communicator>;

/// What one rank computes with.
struct RankModel {
  std::shared_ptr<ThreadPool> pool;
  std::unique_ptr<MiniMaxM2> model;
  KvCacheFormat kv_cache;
  parallel::MessageKey key;
};

/// A rank that waits for its disk in the middle of a step may be taken for one that is lost.
void read_share(const MiniMaxM2Weights& weights) {
  const int64_t needed = weights.total_bytes();
  const int64_t free = free_memory();
  if (free > 0 && needed > free) {
    log::warn(
        "this rank's weights take {:.1f} GB and {:.1f} GB of memory are free: steps that read them "
        "from the files are slow and need a --rank-timeout that is long enough",
        static_cast<double>(needed) / 1e9, static_cast<double>(free) / 1e9);
    return;
  }
  weights.read_all();
}

/// What tells kernels apart that compute other bits. Not their name, which has the number of
/// threads.
Result<std::string> arithmetic_of(const ModelFlags& flags) {
  TETRAD_ASSIGN(
      const auto kernels,
      make_named_kernels(flags.kernels, std::make_shared<ThreadPool>(1), activations_of(flags)));
  return std::string(kernels->name());
}

/// All ranks do this at once, and know afterwards that they have the same model.
Result<RankModel> load_share(const ModelFlags& flags,
                             const std::shared_ptr<const Checkpoint>& checkpoint,
                             const RankEnd& ranks, int num_threads) {
  RankModel share;
  share.pool = std::make_shared<ThreadPool>(num_threads);
  TETRAD_ASSIGN(std::shared_ptr<Kernels> kernels,
                make_named_kernels(flags.kernels, share.pool, activations_of(flags)));
  TETRAD_ASSIGN(const std::string arithmetic, arithmetic_of(flags));
  TETRAD_ASSIGN(share.key, parallel::MessageKey::exchange(*ranks, flags.session->secret()));
  TETRAD_ASSIGN(share.model,
                MiniMaxM2::load(checkpoint, std::move(kernels), flags.ranks.layout(), ranks));
  if (flags.session->processes() != nullptr) read_share(share.model->weights());
  TETRAD_ASSIGN(share.kv_cache, kv_cache_format(flags, share.model->kv_scales(),
                                                /*says_warnings=*/ranks->rank() == 0));
  TETRAD_TRY(agree_on_model(*ranks, *checkpoint, *share.model, arithmetic, share.kv_cache));
  return share;
}

/// Of the ranks that are threads of this process.
ProcessorShare processors_of_thread(const ModelFlags& flags, int rank) {
  return share_of_processors(flags.threads, static_cast<int>(flags.ranks.tensor_parallel_size),
                             rank);
}

/// Of a rank that is a process: all that it may use, unless others may use the same.
ProcessorShare processors_of_process(const ModelFlags& flags, const RankSession& session) {
  if (flags.threads > 0) return {.num_threads = flags.threads};
  const parallel::Neighbours& neighbours = session.neighbours();
  return share_of_processors(0, neighbours.num_sharing, neighbours.index_sharing);
}

Result<void> follow_with_share(const ModelFlags& flags,
                               const std::shared_ptr<const Checkpoint>& checkpoint, RankEnd ranks,
                               const ProcessorShare& processors, int64_t ranks_here,
                               std::chrono::milliseconds deadline) {
  const PinnedThread pinned(processors.processors);
  TETRAD_ASSIGN(const RankModel share,
                load_share(flags, checkpoint, ranks, processors.num_threads));
  CpuModel model(*share.model, share.kv_cache, ranks_here);
  ranks->set_deadline(deadline);
  return follow_rank_0(model, std::move(ranks), share.key);
}

/// The end of rank 0, once the others are under way.
RankEnd start_threads(const ModelFlags& flags, LoadedModel& loaded) {
  const auto size = static_cast<int>(flags.ranks.tensor_parallel_size);
  auto ends = parallel::make_in_process_ranks(size, kThreadsDeadline);
  RankEnd first = std::move(ends.front());
  ends.erase(ends.begin());
  loaded.rank_threads = std::make_unique<RankThreads>(
      std::move(ends), [flags, size, checkpoint = loaded.checkpoint](const RankEnd& end) {
        const int rank = end->rank();
        const auto followed = follow_with_share(
            flags, checkpoint, end, processors_of_thread(flags, rank), size, kThreadsDeadline);
        if (!followed) log::error("rank {}: {}", rank, followed.error().message);
      });
  return first;
}

}  // namespace

RankThreads::RankThreads(std::vector<std::unique_ptr<parallel::Communicator>> ends,
                         const std::function<void(std::shared_ptr<parallel::Communicator>)>& run) {
  for (auto& end : ends)
    threads_.emplace_back(
        [run, mine = RankEnd(std::move(end))]() mutable { run(std::move(mine)); });
}

RankThreads::~RankThreads() {
  for (std::thread& thread : threads_)
    thread.join();
}

Result<void> load_by_ranks(const ModelFlags& flags, RankSession& session, LoadedModel& loaded) {
  // Said once, and not by each of them.
  TETRAD_ASSIGN(const plan::PlannedModel planned, plan::planned_model(*loaded.checkpoint));
  TETRAD_TRY(plan::check_layout(planned, flags.ranks.layout()));
  const bool are_threads = session.processes() == nullptr;
  const RankEnd ranks = are_threads ? start_threads(flags, loaded) : session.processes();
  const ProcessorShare processors =
      are_threads ? processors_of_thread(flags, 0) : processors_of_process(flags, session);
  RankModel share;
  {
    // The threads that it starts stay where they are; this one goes on anywhere.
    const PinnedThread pinned(processors.processors);
    TETRAD_ASSIGN(share, load_share(flags, loaded.checkpoint, ranks, processors.num_threads));
  }
  const RankTimes& times = session.times();
  ranks->set_deadline(are_threads ? kThreadsDeadline : times.deadline);
  session.describe(ranks->name(), processors.num_threads);
  loaded.pool = std::move(share.pool);
  loaded.cpu_model = std::move(share.model);
  loaded.kv_cache = share.kv_cache;
  loaded.is_read = !are_threads;
  const int64_t ranks_here = are_threads ? ranks->size() : session.neighbours().num_here;
  loaded.model = std::make_unique<LeadingModel>(
      CpuModel(*loaded.cpu_model, std::move(share.kv_cache), ranks_here), ranks, share.key,
      times.heartbeat, [&session](const Error& error) { session.loss().lost(error); });
  return {};
}

Result<void> follow_as_process(const ModelFlags& flags, RankSession& session) {
  TETRAD_ASSIGN(Checkpoint opened, Checkpoint::open(flags.model));
  const auto checkpoint = std::make_shared<const Checkpoint>(std::move(opened));
  return follow_with_share(flags, checkpoint, session.processes(),
                           processors_of_process(flags, session), session.neighbours().num_here,
                           session.times().deadline);
}

}  // namespace tetrad
