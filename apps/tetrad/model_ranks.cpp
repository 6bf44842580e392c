#include "model_ranks.h"

#include <string>
#include <utility>

#include "base/free_memory.h"
#include "base/log.h"
#include "compute_device.h"
#include "gpu_rank_share.h"
#include "model/cpu_rank_model.h"
#include "model/following_model.h"
#include "model/leading_model.h"
#include "model/rank_agreement.h"
#include "parallel/in_process.h"
#include "parallel/message_key.h"
#include "plan/planned_model.h"
#include "plan/rank_share.h"
#include "processor_share.h"
#include "weight_reader.h"

namespace tetrad {
namespace {

using RankEnd = std::shared_ptr<parallel::Communicator>;

/// What one rank computes with.
struct RankShare {
  std::shared_ptr<ThreadPool> pool;      // of a CPU
  std::unique_ptr<MiniMaxM2> cpu_model;  // that `model` refers to
  KvCacheFormat kv_cache;
  parallel::MessageKey key;
  std::unique_ptr<RankModel> model;
  const GpuRankGroup* gpus = nullptr;  // of a GPU
};

/// Where one rank computes.
struct RankPlace {
  ProcessorShare processors;  // of a CPU
  int64_t ranks_here = 1;
  GpuRankPlace gpu;
  std::chrono::milliseconds deadline{};  // of what it says on the host
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

Result<void> load_cpu_share(const ModelFlags& flags,
                            const std::shared_ptr<const Checkpoint>& checkpoint,
                            const RankEnd& ranks, const RankPlace& place, RankShare& share) {
  share.pool = std::make_shared<ThreadPool>(place.processors.num_threads);
  TETRAD_ASSIGN(std::shared_ptr<Kernels> kernels,
                make_named_kernels(flags.kernels, share.pool, activations_of(flags)));
  TETRAD_ASSIGN(const std::string arithmetic, arithmetic_of(flags));
  TETRAD_ASSIGN(share.cpu_model,
                MiniMaxM2::load(checkpoint, std::move(kernels), flags.ranks.layout(), ranks));
  if (flags.session->processes() != nullptr) read_share(share.cpu_model->weights());
  TETRAD_ASSIGN(share.kv_cache, kv_cache_format(flags, share.cpu_model->kv_scales(),
                                                /*says_warnings=*/ranks->rank() == 0));
  TETRAD_TRY(agree_on_model(*ranks, {.checkpoint = *checkpoint,
                                     .weights = share.cpu_model->weights(),
                                     .layout = flags.ranks.layout(),
                                     .arithmetic = arithmetic,
                                     .transport = "",
                                     .kv_cache = share.kv_cache}));
  share.model = std::make_unique<CpuRankModel>(
      CpuModel(*share.cpu_model, share.kv_cache, place.ranks_here), ranks);
  return {};
}

/// device: opened beforehand, or null.
Result<void> load_gpu_share(const ModelFlags& flags,
                            const std::shared_ptr<const Checkpoint>& checkpoint,
                            const RankEnd& ranks, const RankPlace& place,
                            std::unique_ptr<gpu::Device> device, RankShare& share) {
  TETRAD_ASSIGN(GpuRankShare loaded,
                load_gpu_rank(flags, checkpoint, ranks, place.gpu,
                              device ? std::move(device) : open_gpu_of_rank(flags, place.gpu)));
  share.gpus = &loaded.model->group();
  share.model = std::move(loaded.model);
  share.kv_cache = std::move(loaded.kv_cache);
  return {};
}

/// All ranks do this at once, and know afterwards that they have the same model.
Result<RankShare> load_share(const ModelFlags& flags,
                             const std::shared_ptr<const Checkpoint>& checkpoint,
                             const RankEnd& ranks, const RankPlace& place,
                             std::unique_ptr<gpu::Device> device = nullptr) {
  RankShare share;
  TETRAD_ASSIGN(share.key, parallel::MessageKey::exchange(*ranks, flags.session->secret()));
  if (is_gpu(flags.device)) {
    TETRAD_TRY(load_gpu_share(flags, checkpoint, ranks, place, std::move(device), share));
  } else {
    // The threads that it starts stay where they are; this one goes on anywhere.
    const PinnedThread pinned(place.processors.processors);
    TETRAD_TRY(load_cpu_share(flags, checkpoint, ranks, place, share));
  }
  ranks->set_deadline(place.deadline);
  return share;
}

/// Of the ranks that are threads of this process.
RankPlace place_of_thread(const ModelFlags& flags, int rank) {
  const int64_t size = flags.ranks.tensor_parallel_size;
  return {.processors = is_gpu(flags.device)
                            ? ProcessorShare{}
                            : share_of_processors(flags.threads, static_cast<int>(size), rank),
          .ranks_here = size,
          .gpu = {.gpu = rank, .ranks_here = size, .deadline = gpu_deadline(flags.device)},
          .deadline = kThreadsDeadline};
}

/// Of a rank that is a process: of processors all that it may use, unless others may use the same.
RankPlace place_of_process(const ModelFlags& flags, const RankSession& session) {
  const parallel::Neighbours& neighbours = session.neighbours();
  const auto deadline = session.times().deadline;
  return {.processors = flags.threads > 0 ? ProcessorShare{.num_threads = flags.threads}
                                          : share_of_processors(0, neighbours.num_sharing,
                                                                neighbours.index_sharing),
          .ranks_here = neighbours.num_here,
          .gpu = {.gpu = neighbours.index_here,
                  .ranks_here = neighbours.num_here,
                  .deadline = deadline},
          .deadline = deadline};
}

Result<void> follow_with_share(const ModelFlags& flags,
                               const std::shared_ptr<const Checkpoint>& checkpoint,
                               const RankEnd& ranks, const RankPlace& place) {
  TETRAD_ASSIGN(const RankShare share, load_share(flags, checkpoint, ranks, place));
  const PinnedThread pinned(place.processors.processors);
  return follow_rank_0(*share.model, ranks, share.key);
}

/// The end of rank 0, once the others are under way.
RankEnd start_threads(const ModelFlags& flags, LoadedModel& loaded) {
  const auto size = static_cast<int>(flags.ranks.tensor_parallel_size);
  auto ends = parallel::make_in_process_ranks(size, kThreadsDeadline);
  RankEnd first = std::move(ends.front());
  ends.erase(ends.begin());
  loaded.rank_threads = std::make_unique<RankThreads>(
      std::move(ends), [flags, checkpoint = loaded.checkpoint](const RankEnd& end) {
        const int rank = end->rank();
        const auto followed =
            follow_with_share(flags, checkpoint, end, place_of_thread(flags, rank));
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
  const RankPlace place =
      are_threads ? place_of_thread(flags, 0) : place_of_process(flags, session);
  std::unique_ptr<gpu::Device> device;
  std::unique_ptr<WeightReader> reader;
  if (are_threads && is_gpu(flags.device)) {
    TETRAD_ASSIGN(device, open_gpu_of_rank(flags, place.gpu));
    reader = std::make_unique<WeightReader>(loaded.checkpoint, WeightReader::Use::once);
  }
  const RankEnd ranks = are_threads ? start_threads(flags, loaded) : session.processes();
  TETRAD_ASSIGN(RankShare share,
                load_share(flags, loaded.checkpoint, ranks, place, std::move(device)));
  if (share.gpus != nullptr) {
    session.describe_gpus(ranks->name(), share.model->device_model().device(), *share.gpus);
  } else {
    session.describe(ranks->name(), place.processors.num_threads);
  }
  loaded.pool = std::move(share.pool);
  loaded.cpu_model = std::move(share.cpu_model);
  loaded.kv_cache = std::move(share.kv_cache);
  loaded.is_read = !are_threads;
  loaded.model = std::make_unique<LeadingModel>(
      std::move(share.model), ranks, share.key, session.times().heartbeat,
      [&session](const Error& error) { session.loss().lost(error); });
  return {};
}

Result<void> follow_as_process(const ModelFlags& flags, RankSession& session) {
  TETRAD_ASSIGN(Checkpoint opened, Checkpoint::open(flags.model));
  const auto checkpoint = std::make_shared<const Checkpoint>(std::move(opened));
  return follow_with_share(flags, checkpoint, session.processes(),
                           place_of_process(flags, session));
}

}  // namespace tetrad
