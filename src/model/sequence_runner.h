#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "model/device_model.h"
#include "model/kv_cache_format.h"
#include "model/minimax_m2.h"
#include "model/step_model.h"

namespace tetrad {

/// Feeds one sequence through a model, with a KV cache of its own: for evaluation, calibration and
/// the stage verbs. Serving goes through the engine.
class SequenceRunner {
 public:
  /// On whatever computes the model.
  static Result<SequenceRunner> create(DeviceModel& model, int64_t max_tokens);
  /// On the processors, where an observer can see how.
  static Result<SequenceRunner> create(MiniMaxM2& model, const KvCacheFormat& kv_cache,
                                       int64_t max_tokens);

  enum class Logits { last_token, every_token };
  /// Appends `ids` (at least one) and returns their logits, [1 or ids.size(), vocab_size], valid
  /// until the next call. Errors: an id outside the vocabulary, more than max_tokens in all; with
  /// every_token, more than kMaxTokensOfAStep at once; an observer where nothing can be seen.
  Result<Activations> append(std::span<const int32_t> ids, Logits logits,
                             const Observer* observer = nullptr);
  /// Forgets the sequence.
  void reset() { length_ = 0; }

  /// On a DeviceModel more tokens are computed in several steps.
  static constexpr int64_t kMaxTokensOfAStep = 2048;

 private:
  SequenceRunner(const ModelConfig& config, std::unique_ptr<StepModel> steps, int64_t num_kv_blocks,
                 int64_t max_tokens, int64_t max_step);

  Result<void> check(std::span<const int32_t> ids, Logits logits) const;
  Result<Activations> step(std::span<const int32_t> ids, Logits logits, const Observer* observer);

  int64_t vocab_size_;
  std::unique_ptr<StepModel> steps_;
  CachedModel* observable_ = nullptr;  // the same, on the processors
  int64_t max_tokens_;
  int64_t max_step_;
  int64_t length_ = 0;
  std::vector<int32_t> block_table_;  // the identity: one sequence owns all blocks in order
};

}  // namespace tetrad
