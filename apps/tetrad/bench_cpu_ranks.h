#pragma once

// The ranks that `tetrad bench model` measures on a CPU: one with the whole model, or several
// threads with a share each, of whom the first is asked.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/timed_kernels.h"
#include "model/kv_cache.h"
#include "model/minimax_m2.h"
#include "model_ranks.h"
#include "parallel/communicator.h"
#include "plan/rank_share.h"

namespace tetrad {

struct CpuRanksOptions {
  std::string kernels = "auto";
  std::shared_ptr<ThreadPool> pool;  // that one rank alone computes with
  int threads = 0;                   // of many together; 0: one for each processor
  plan::Layout layout;
  int64_t num_kv_blocks = 0;
  uint64_t seed = 1;
};

/// One rank's share of a model, what it computes with, and a cache full of random keys and values:
/// a context is not computed.
struct CpuBenchRank {
  std::shared_ptr<ThreadPool> pool;
  std::shared_ptr<TimedKernels> kernels;
  std::unique_ptr<MiniMaxM2> model;
  KvCache cache;
};

class CpuBenchRanks {
 public:
  /// whole: of which each gets a share; its own kernels are not used where there are many. Errors:
  /// what share_weights says; resource_exhausted.
  static Result<std::unique_ptr<CpuBenchRanks>> create(
      const std::shared_ptr<const MiniMaxM2>& whole, const CpuRanksOptions& options);
  ~CpuBenchRanks();
  CpuBenchRanks(const CpuBenchRanks&) = delete;
  CpuBenchRanks& operator=(const CpuBenchRanks&) = delete;

  /// MiniMaxM2::forward by all of them.
  Activations forward(const Batch& batch, const Observer* observer);

  /// What the first rank did.
  TimedKernels& kernels() { return *first_.kernels; }
  /// Of all ranks.
  int64_t cache_bytes() const;

 private:
  CpuBenchRanks(std::shared_ptr<parallel::Communicator> ranks, std::unique_ptr<RankThreads> others,
                CpuBenchRank first)
      : ranks_(std::move(ranks)), others_(std::move(others)), first_(std::move(first)) {}

  std::shared_ptr<parallel::Communicator> ranks_;  // null: alone
  std::unique_ptr<RankThreads> others_;
  CpuBenchRank first_;
};

}  // namespace tetrad
