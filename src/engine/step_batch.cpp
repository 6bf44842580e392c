#include "engine/step_batch.h"

namespace tetrad {

Batch StepBatch::build(const std::vector<ScheduledSlice>& step) {
  token_ids_.clear();
  positions_.clear();
  slot_mapping_.clear();
  sequences_.clear();
  logits_rows_.clear();
  for (const ScheduledSlice& slice : step) {
    const Sequence& sequence = *slice.sequence;
    const int64_t first = sequence.num_computed_tokens;
    sequences_.push_back({.query_start = static_cast<int64_t>(token_ids_.size()),
                          .query_len = slice.count,
                          .context_len = first,
                          .block_table = sequence.block_table});
    for (int64_t position = first; position < first + slice.count; ++position) {
      const int64_t block = sequence.block_table[static_cast<size_t>(position / kKvBlockSize)];
      token_ids_.push_back(sequence.tokens[static_cast<size_t>(position)]);
      positions_.push_back(static_cast<int32_t>(position));
      slot_mapping_.push_back(block * kKvBlockSize + position % kKvBlockSize);
    }
    if (wants_logits(slice)) logits_rows_.push_back(static_cast<int32_t>(token_ids_.size()) - 1);
  }
  return {.token_ids = token_ids_,
          .positions = positions_,
          .slot_mapping = slot_mapping_,
          .sequences = sequences_,
          .logits_rows = logits_rows_};
}

}  // namespace tetrad
