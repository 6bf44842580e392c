#pragma once

#include <string>

#include "model/device_model.h"
#include "model/kv_cache_format.h"
#include "model/minimax_m2.h"

namespace tetrad {

/// MiniMax-M2 on this machine's processors. Any number of steps may be started.
class CpuModel final : public DeviceModel {
 public:
  /// The model must outlive this. ranks_here: that share this machine's memory, this one with them.
  CpuModel(MiniMaxM2& model, KvCacheFormat kv_cache, int64_t ranks_here = 1);

  const ModelConfig& config() const override { return model_.config(); }
  const std::string& device() const override { return device_; }
  const std::string& kernels() const override { return kernels_; }
  DType kv_dtype() const override { return kv_cache_.dtype; }
  int64_t kv_block_bytes() const override;
  Result<StartedModel> start(const StepLimits& limits, const KvMemory& memory) override;

  // The two parts of start(), for ranks, which must have as many blocks.

  MiniMaxM2& model() { return model_; }
  /// Blocks of the cache that there is room for.
  Result<int64_t> num_kv_blocks(const StepLimits& limits, const KvMemory& memory) const;
  Result<KvCache> make_cache(int64_t num_blocks) const;

 private:
  Result<int64_t> kv_cache_bytes(const StepLimits& limits, const KvMemory& memory) const;

  MiniMaxM2& model_;
  KvCacheFormat kv_cache_;
  int64_t ranks_here_;
  std::string device_ = "cpu";
  std::string kernels_;
};

}  // namespace tetrad
