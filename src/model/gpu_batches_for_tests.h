#pragma once

// For tests only: batches of sequences for a GpuModel, and what it says to them.

#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>
#include <span>
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
    add(sequence.blocks, sequence.computed, count, num_logits,
        [&](int64_t position) { return sequence.tokens[static_cast<size_t>(position)]; });
    sequence.computed += count;
  }
  /// Of a sequence of which `computed` are in `blocks`, which must outlive this;
  /// token_at(position).
  template <class TokenAt>
  void add(std::span<const int32_t> blocks, int64_t computed, int64_t count, int64_t num_logits,
           const TokenAt& token_at) {
    slices_.push_back({.query_start = std::ssize(token_ids_),
                       .query_len = count,
                       .context_len = computed,
                       .block_table = blocks});
    for (int64_t i = 0; i < count; ++i) {
      const int64_t position = computed + i;
      const int64_t block = blocks[static_cast<size_t>(position / kKvBlockSize)];
      if (i >= count - num_logits) logits_rows_.push_back(static_cast<int32_t>(token_ids_.size()));
      token_ids_.push_back(token_at(position));
      positions_.push_back(static_cast<int32_t>(position));
      slots_.push_back(block * kKvBlockSize + position % kKvBlockSize);
    }
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
