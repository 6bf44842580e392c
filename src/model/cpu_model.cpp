#include "model/cpu_model.h"

#include <utility>

#include "plan/gpu_memory.h"

namespace tetrad {

CpuModel::CpuModel(MiniMaxM2& model, KvCacheFormat kv_cache, int64_t ranks_here)
    : model_(model),
      kv_cache_(std::move(kv_cache)),
      ranks_here_(ranks_here),
      kernels_(model.kernels().name()) {}

int64_t CpuModel::kv_block_bytes() const {
  return KvCache::block_bytes(model_.local_config(), kv_cache_.dtype);
}

Result<int64_t> CpuModel::kv_cache_bytes(const StepLimits& limits, const KvMemory& memory) const {
  if (memory.bytes > 0) return memory.bytes;
  if (!memory.utilization) return shared_kv_cache_bytes(limits, kv_block_bytes(), ranks_here_);
  const auto machine = static_cast<double>(machine_memory()) / static_cast<double>(ranks_here_);
  const auto weights = static_cast<double>(model_.weights().total_bytes());
  const auto activations = static_cast<double>(
      plan::workspace_bytes(config(), model_.share().layout,
                            {.max_num_seqs = limits.max_num_seqs,
                             .max_num_batched_tokens = limits.max_num_batched_tokens}));
  const double left = *memory.utilization * machine - weights - activations;
  if (left > 0) return static_cast<int64_t>(left);
  constexpr double kGiB = 1 << 30;
  return fail_param(
      "--gpu-memory-utilization",
      "--gpu-memory-utilization {}: of {:.2f} GiB of memory the weights take {:.2f} "
      "GiB and a step's activations {:.2f} GiB, which leaves nothing for the KV cache",
      *memory.utilization, machine / kGiB, weights / kGiB, activations / kGiB);
}

Result<int64_t> CpuModel::num_kv_blocks(const StepLimits& limits, const KvMemory& memory) const {
  TETRAD_ASSIGN(const int64_t bytes, kv_cache_bytes(limits, memory));
  return kv_blocks_in(bytes, limits.max_model_len, kv_block_bytes());
}

Result<KvCache> CpuModel::make_cache(int64_t num_blocks) const {
  return KvCache::create(model_.local_config(), kv_cache_.dtype, num_blocks, kv_cache_.scales);
}

Result<StartedModel> CpuModel::start(const StepLimits& limits, const KvMemory& memory) {
  TETRAD_ASSIGN(const int64_t num_blocks, num_kv_blocks(limits, memory));
  TETRAD_ASSIGN(KvCache cache, make_cache(num_blocks));
  return StartedModel{.steps = std::make_unique<CachedModel>(model_, std::move(cache)),
                      .num_kv_blocks = num_blocks};
}

}  // namespace tetrad
