#pragma once

#include <memory>

#include "model/cpu_model.h"
#include "model/rank_model.h"

namespace tetrad {

/// A rank on this machine's processors.
class CpuRankModel final : public RankModel {
 public:
  /// `ranks`: those that `model` computes with.
  CpuRankModel(CpuModel model, std::shared_ptr<parallel::Communicator> ranks)
      : model_(std::move(model)), ranks_(std::move(ranks)) {}

  const DeviceModel& device_model() const override { return model_; }
  Result<Result<StartedRank>> start(const StepLimits& limits, const KvMemory& memory) override;
  /// The communicator has the error that lost it.

 private:
  CpuModel model_;
  std::shared_ptr<parallel::Communicator> ranks_;
};

}  // namespace tetrad
