#pragma once

#include <cstdint>
#include <vector>

#include "kernels/batch.h"

namespace tetrad {

/// The batches of `tetrad bench model`: random tokens of some sequences of equal length, whose
/// blocks stand in the cache one sequence after the other.
class BenchStep {
 public:
  /// max_tokens: of each sequence.
  BenchStep(int64_t num_sequences, int64_t max_tokens, int64_t vocab_size, uint64_t seed);

  /// Blocks that all sequences take.
  int64_t num_blocks() const;
  /// `count` other tokens for each sequence behind `context` of them; with `logits` those of each
  /// one's last. Valid until the next call.
  Batch next(int64_t context, int64_t count, bool logits);

 private:
  uint64_t next_random();

  int64_t num_sequences_;
  int64_t blocks_of_sequence_;
  int64_t vocab_size_;
  uint64_t random_state_;
  std::vector<int32_t> block_tables_;  // of all sequences
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int64_t> slot_mapping_;
  std::vector<int32_t> logits_rows_;
  std::vector<SequenceSlice> slices_;
};

}  // namespace tetrad
