#pragma once

#include <span>
#include <utility>

#include "base/error.h"
#include "kernels/batch.h"
#include "kernels/kernels.h"
#include "model/kv_cache.h"
#include "model/minimax_m2.h"
#include "model/step_logits.h"

namespace tetrad {

/// What the engine asks of a model and its KV cache. Behind it stand the real ones, on whatever
/// computes them, or in tests a fake that tells exactly what it was given.
class StepModel {
 public:
  virtual ~StepModel() = default;
  /// Computes one batch: logits of batch.logits_rows, valid until the next call. After an error the
  /// cache's slots that the batch names are undefined.
  virtual Result<Activations> forward(const Batch& batch) = 0;

  /// The same in two parts, so that something can be done while a device computes: start() returns
  /// at once, and finish(), which must follow it if there was no error, when all is done; until
  /// then the batch stays as it is. `uses`: one for each row of logits; of a row that is not whole
  /// a summary may be all there is, and the row itself is brought when it is asked for. Errors of
  /// either are those of forward().
  virtual Result<void> start(const Batch& batch, std::span<const LogitsUse> /*uses*/) {
    batch_ = batch;
    return {};
  }
  virtual Result<StepLogits> finish() {
    TETRAD_ASSIGN(const Activations rows, forward(batch_));
    return StepLogits(rows);
  }

 private:
  Batch batch_;  // that was started
};

/// On the processors.
class CachedModel final : public StepModel {
 public:
  /// The model must outlive this.
  CachedModel(MiniMaxM2& model, KvCache cache) : model_(model), cache_(std::move(cache)) {}

  Result<Activations> forward(const Batch& batch) override { return forward(batch, nullptr); }
  Result<Activations> forward(const Batch& batch, const Observer* observer) {
    return model_.forward(batch, cache_, observer);
  }
  const KvCache& cache() const { return cache_; }

 private:
  MiniMaxM2& model_;
  KvCache cache_;
};

}  // namespace tetrad
