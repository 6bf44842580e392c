#pragma once

#include <string>

#include "model/device_model.h"
#include "model/kv_cache_format.h"
#include "model/minimax_m2.h"

namespace tetrad {

/// MiniMax-M2 on this machine's processors. Any number of steps may be started.
class CpuModel final : public DeviceModel {
 public:
  /// The model must outlive this.
  CpuModel(MiniMaxM2& model, KvCacheFormat kv_cache);

  const ModelConfig& config() const override { return model_.config(); }
  const std::string& device() const override { return device_; }
  const std::string& kernels() const override { return kernels_; }
  DType kv_dtype() const override { return kv_cache_.dtype; }
  int64_t kv_block_bytes() const override;
  Result<StartedModel> start(const StepLimits& limits, const KvMemory& memory) override;

 private:
  Result<int64_t> kv_cache_bytes(const StepLimits& limits, const KvMemory& memory) const;

  MiniMaxM2& model_;
  KvCacheFormat kv_cache_;
  std::string device_ = "cpu";
  std::string kernels_;
};

}  // namespace tetrad
