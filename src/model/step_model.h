#pragma once

#include <utility>

#include "base/error.h"
#include "kernels/batch.h"
#include "kernels/kernels.h"
#include "model/kv_cache.h"
#include "model/minimax_m2.h"

namespace tetrad {

/// What the engine asks of a model and its KV cache. Behind it stand the real ones, on whatever
/// computes them, or in tests a fake that tells exactly what it was given.
class StepModel {
 public:
  virtual ~StepModel() = default;
  /// Computes one batch: logits of batch.logits_rows, valid until the next call. After an error the
  /// cache's slots that the batch names are undefined.
  virtual Result<Activations> forward(const Batch& batch) = 0;
};

/// On the processors.
class CachedModel final : public StepModel {
 public:
  /// The model must outlive this.
  CachedModel(MiniMaxM2& model, KvCache cache) : model_(model), cache_(std::move(cache)) {}

  Result<Activations> forward(const Batch& batch) override { return forward(batch, nullptr); }
  Activations forward(const Batch& batch, const Observer* observer) {
    return model_.forward(batch, cache_, observer);
  }
  const KvCache& cache() const { return cache_; }

 private:
  MiniMaxM2& model_;
  KvCache cache_;
};

}  // namespace tetrad
