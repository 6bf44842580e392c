#pragma once

#include <memory>

#include "model/gpu_device_model.h"
#include "model/rank_model.h"

namespace tetrad {

/// A rank on a GPU of its own. Its KV cache and buffers are made while no rank computes, since a
/// driver may wait for kernels then, and these for the rank.
class GpuRankModel final : public RankModel {
 public:
  /// `model`: loaded with the same ranks.
  GpuRankModel(std::unique_ptr<GpuDeviceModel> model, std::shared_ptr<parallel::Communicator> ranks)
      : ranks_(std::move(ranks)), model_(std::move(model)) {
    // A step waits on the device, which knows of no rank that has ended.
    ranks_->when_broken([this] { group().give_up(); });
  }
  ~GpuRankModel() override { ranks_->when_broken(nullptr); }
  GpuRankModel(const GpuRankModel&) = delete;
  GpuRankModel& operator=(const GpuRankModel&) = delete;

  const DeviceModel& device_model() const override { return *model_; }
  const GpuRankGroup& group() const { return model_->ranks(); }
  Result<Result<StartedRank>> start(const StepLimits& limits, const KvMemory& memory) override;

 private:
  std::shared_ptr<parallel::Communicator> ranks_;
  std::unique_ptr<GpuDeviceModel> model_;
};

}  // namespace tetrad
