#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "model/kv_cache.h"
#include "model/kv_cache_format.h"
#include "model/minimax_m2.h"

namespace tetrad {

/// Feeds one sequence through a model, with a KV cache of its own: for evaluation, calibration and
/// the stage verbs. Serving goes through the engine.
class SequenceRunner {
 public:
  static Result<SequenceRunner> create(MiniMaxM2& model, const KvCacheFormat& kv_cache,
                                       int64_t max_tokens);

  enum class Logits { last_token, every_token };
  /// Appends `ids` (at least one) and returns their logits, [1 or ids.size(), vocab_size], valid
  /// until the next call. Errors: an id outside the vocabulary, more than max_tokens in all.
  Result<Activations> append(std::span<const int32_t> ids, Logits logits,
                             const Observer* observer = nullptr);
  /// Forgets the sequence.
  void reset() { length_ = 0; }

 private:
  SequenceRunner(MiniMaxM2& model, KvCache cache, int64_t max_tokens);

  MiniMaxM2* model_;
  KvCache cache_;
  int64_t max_tokens_;
  int64_t length_ = 0;
  std::vector<int32_t> block_table_;  // the identity: one sequence owns all blocks in order
};

}  // namespace tetrad
