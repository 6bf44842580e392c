#include "bench_model_step.h"

#include <numeric>
#include <span>

#include "base/splitmix.h"

namespace tetrad {

BenchStep::BenchStep(int64_t num_sequences, int64_t max_tokens, int64_t vocab_size, uint64_t seed)
    : num_sequences_(num_sequences),
      blocks_of_sequence_(kv_blocks_for(max_tokens)),
      vocab_size_(vocab_size),
      random_state_(splitmix(seed + kSplitMixStep)),
      block_tables_(static_cast<size_t>(num_blocks())) {
  std::iota(block_tables_.begin(), block_tables_.end(), 0);
}

int64_t BenchStep::num_blocks() const {
  return num_sequences_ * blocks_of_sequence_;
}

uint64_t BenchStep::next_random() {
  return splitmix(random_state_ += kSplitMixStep);
}

Batch BenchStep::next(int64_t context, int64_t count, bool logits) {
  token_ids_.clear();
  positions_.clear();
  slot_mapping_.clear();
  logits_rows_.clear();
  slices_.clear();
  for (int64_t sequence = 0; sequence < num_sequences_; ++sequence) {
    const int64_t first_block = sequence * blocks_of_sequence_;
    slices_.push_back({.query_start = sequence * count,
                       .query_len = count,
                       .context_len = context,
                       .block_table = std::span(block_tables_)
                                          .subspan(static_cast<size_t>(first_block),
                                                   static_cast<size_t>(blocks_of_sequence_))});
    for (int64_t position = context; position < context + count; ++position) {
      token_ids_.push_back(
          static_cast<int32_t>(next_random() % static_cast<uint64_t>(vocab_size_)));
      positions_.push_back(static_cast<int32_t>(position));
      slot_mapping_.push_back(first_block * kKvBlockSize + position);
    }
    if (logits) logits_rows_.push_back(static_cast<int32_t>((sequence + 1) * count - 1));
  }
  return {.token_ids = token_ids_,
          .positions = positions_,
          .slot_mapping = slot_mapping_,
          .sequences = slices_,
          .logits_rows = logits_rows_};
}

}  // namespace tetrad
