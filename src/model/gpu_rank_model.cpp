#include "model/gpu_rank_model.h"

#include <utility>

#include "model/rank_protocol.h"

namespace tetrad {
namespace {

/// Every rank's card gets whole rows, and each makes its own summaries of them.
class GpuRankSteps final : public RankSteps {
 public:
  GpuRankSteps(const GpuDeviceModel& model, std::unique_ptr<StepModel> steps)
      : model_(model), steps_(std::move(steps)) {}

  Result<Activations> forward(const Batch& batch) override { return steps_->forward(batch); }
  Result<void> start(const Batch& batch, std::span<const LogitsUse> uses) override {
    return steps_->start(batch, uses);
  }
  Result<StepLogits> finish() override { return steps_->finish(); }
  bool has_row(int64_t row) const override { return model_.has_row(row); }
  bool finish_talks() const override { return false; }

 private:
  const GpuDeviceModel& model_;
  std::unique_ptr<StepModel> steps_;
};

}  // namespace

Result<Result<StartedRank>> GpuRankModel::start(const StepLimits& limits, const KvMemory& memory) {
  StartedModel started;
  TETRAD_ASSIGN(const Result<int64_t> num_blocks,
                make_agreed_cache(*ranks_, model_->num_kv_blocks(limits, memory),
                                  [&](int64_t blocks) -> Result<void> {
                                    TETRAD_ASSIGN(started, model_->start_with(blocks));
                                    return {};
                                  }));
  if (!num_blocks) return Result<StartedRank>(tl::unexpected(num_blocks.error()));
  return Result<StartedRank>(
      {.steps = std::make_unique<GpuRankSteps>(*model_, std::move(started.steps)),
       .num_kv_blocks = *num_blocks});
}

}  // namespace tetrad
