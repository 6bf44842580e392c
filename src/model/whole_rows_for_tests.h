#pragma once

#include <memory>
#include <string>
#include <utility>

#include "model/device_model.h"

namespace tetrad {

/// A model of which nothing is known but whole rows of logits, whatever is needed of them.
class WholeRows final : public DeviceModel {
 public:
  /// `model` must outlive this.
  explicit WholeRows(DeviceModel& model) : model_(model) {}
  const ModelConfig& config() const override { return model_.config(); }
  const std::string& device() const override { return model_.device(); }
  const std::string& kernels() const override { return model_.kernels(); }
  DType kv_dtype() const override { return model_.kv_dtype(); }
  int64_t kv_block_bytes() const override { return model_.kv_block_bytes(); }
  Result<StartedModel> start(const StepLimits& limits, const KvMemory& memory) override {
    TETRAD_ASSIGN(StartedModel started, model_.start(limits, memory));
    started.steps = std::make_unique<Steps>(std::move(started.steps));
    return started;
  }

 private:
  class Steps final : public StepModel {
   public:
    explicit Steps(std::unique_ptr<StepModel> steps) : steps_(std::move(steps)) {}
    Result<Activations> forward(const Batch& batch) override { return steps_->forward(batch); }
    // start() and finish() as they are by default: forward().

   private:
    std::unique_ptr<StepModel> steps_;
  };

  DeviceModel& model_;
};

}  // namespace tetrad
