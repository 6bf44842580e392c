#pragma once

// For tests only: batches of sequences for a GpuModel, and what it says to them.

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "kernels/batch.h"
#include "kernels/kernels.h"

namespace tetrad {

/// One sequence's tokens with blocks of the cache of its own.
struct GpuTestSequence {
  std::vector<int32_t> tokens;
  std::vector<int32_t> blocks;
  int64_t computed = 0;
};

/// Builds batches and keeps what they point to.
class BatchOfSequences {
 public:
  /// Adds the next `count` tokens; logits of the last `num_logits` of them.
  void add(GpuTestSequence& sequence, int64_t count, int64_t num_logits) {
    slices_.push_back({.query_start = static_cast<int64_t>(token_ids_.size()),
                       .query_len = count,
                       .context_len = sequence.computed,
                       .block_table = sequence.blocks});
    for (int64_t i = 0; i < count; ++i) {
      const int64_t position = sequence.computed + i;
      token_ids_.push_back(sequence.tokens[static_cast<size_t>(position)]);
      positions_.push_back(static_cast<int32_t>(position));
      slots_.push_back(sequence.blocks[static_cast<size_t>(position / kKvBlockSize)] *
                           kKvBlockSize +
                       position % kKvBlockSize);
      if (i >= count - num_logits)
        logits_rows_.push_back(static_cast<int32_t>(token_ids_.size()) - 1);
    }
    sequence.computed += count;
  }
  Batch batch() const {
    return {.token_ids = token_ids_,
            .positions = positions_,
            .slot_mapping = slots_,
            .sequences = slices_,
            .logits_rows = logits_rows_};
  }

 private:
  std::vector<int32_t> token_ids_, positions_, logits_rows_;
  std::vector<int64_t> slots_;
  std::vector<SequenceSlice> slices_;
};

inline std::vector<int32_t> some_tokens(size_t count, int32_t seed) {
  std::vector<int32_t> tokens(count);
  for (size_t i = 0; i < count; ++i)
    tokens[i] = static_cast<int32_t>((i * 7919 + static_cast<size_t>(seed) * 104729) % 6000);
  return tokens;
}

inline std::vector<float> copied(const Result<Activations>& logits) {
  EXPECT_TRUE(logits) << logits.error().message;
  return {logits->data, logits->data + logits->rows * logits->cols};
}

}  // namespace tetrad
