#include "model/cpu_rank_model.h"

#include <utility>

#include "model/rank_logits.h"
#include "model/rank_protocol.h"

namespace tetrad {
namespace {

/// Of the logits each rank has its part of the vocabulary.
class CpuRankSteps final : public RankSteps, public LogitsSource {
 public:
  CpuRankSteps(MiniMaxM2& model, parallel::Communicator& ranks, KvCache cache)
      : model_(model),
        cache_(std::move(cache)),
        logits_(model.ranks(), ranks, model.config().vocab_size) {}

  Result<Activations> forward(const Batch& batch) override {
    TETRAD_TRY(compute(batch, {}));
    return logits_.all_rows();
  }
  Result<void> start(const Batch& batch, std::span<const LogitsUse> uses) override {
    batch_ = batch;
    uses_ = uses;
    return {};
  }
  Result<StepLogits> finish() override {
    TETRAD_TRY(compute(batch_, uses_));
    return StepLogits(*this, logits_.num_rows());
  }
  bool has_row(int64_t row) const override { return logits_.is_here(row); }
  bool finish_talks() const override { return true; }

  std::optional<RowSummary> summary(int64_t row) const override {
    if (logits_.is_here(row)) return std::nullopt;
    return logits_.summary(row);
  }
  Result<std::span<const float>> row(int64_t row) override {
    if (!logits_.is_here(row)) TETRAD_TRY(logits_.gather_row(row));
    return logits_.row(row);
  }

 private:
  Result<void> compute(const Batch& batch, std::span<const LogitsUse> uses) {
    TETRAD_ASSIGN(const Activations part, model_.forward_part(batch, cache_));
    return logits_.exchange(part, uses);
  }

  MiniMaxM2& model_;
  KvCache cache_;
  RankLogits logits_;
  Batch batch_;  // that was started
  std::span<const LogitsUse> uses_;
};

}  // namespace

Result<Result<StartedRank>> CpuRankModel::start(const StepLimits& limits, const KvMemory& memory) {
  std::optional<KvCache> cache;
  TETRAD_ASSIGN(const Result<int64_t> num_blocks,
                make_agreed_cache(*ranks_, model_.num_kv_blocks(limits, memory),
                                  [&](int64_t blocks) -> Result<void> {
                                    TETRAD_ASSIGN(cache, model_.make_cache(blocks));
                                    return {};
                                  }));
  if (!num_blocks) return Result<StartedRank>(tl::unexpected(num_blocks.error()));
  return Result<StartedRank>(
      // NOLINTNEXTLINE(bugprone-unchecked-optional-access): blocks were agreed on for a cache
      {.steps = std::make_unique<CpuRankSteps>(model_.model(), *ranks_, std::move(*cache)),
       .num_kv_blocks = *num_blocks});
}

}  // namespace tetrad
