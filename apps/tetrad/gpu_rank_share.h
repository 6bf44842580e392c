#pragma once

// A rank's share of a checkpoint on a GPU of its own.

#include <chrono>
#include <memory>

#include "base/error.h"
#include "loaded_model.h"
#include "model/gpu_rank_model.h"
#include "parallel/communicator.h"

namespace tetrad {

/// Of one rank among those of this machine.
struct GpuRankPlace {
  int gpu = 0;             // its number
  int64_t ranks_here = 1;  // each with a GPU of its own
  /// How long a GPU waits for another, within a step.
  std::chrono::milliseconds deadline{};
};

/// Errors: --tensor-parallel-size, where there are fewer GPUs than ranks. An emulated one is made
/// for each.
Result<std::unique_ptr<gpu::Device>> open_gpu_of_rank(const ModelFlags& flags,
                                                      const GpuRankPlace& place);

struct GpuRankShare {
  std::unique_ptr<GpuRankModel> model;
  KvCacheFormat kv_cache;  // the same for all ranks
};

/// By all ranks at once, who know afterwards that they have the same model. device: what
/// open_gpu_of_rank() gave.
Result<GpuRankShare> load_gpu_rank(const ModelFlags& flags,
                                   const std::shared_ptr<const Checkpoint>& checkpoint,
                                   const std::shared_ptr<parallel::Communicator>& ranks,
                                   const GpuRankPlace& place,
                                   Result<std::unique_ptr<gpu::Device>> device);

}  // namespace tetrad
