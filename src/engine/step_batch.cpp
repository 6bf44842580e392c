#include "engine/step_batch.h"

#include "engine/sampler.h"

namespace tetrad {

Batch StepBatch::build(const std::vector<ScheduledSlice>& slices) {
  token_ids_.clear();
  positions_.clear();
  slot_mapping_.clear();
  sequences_.clear();
  logits_rows_.clear();
  uses_.clear();
  for (const ScheduledSlice& slice : slices)
    append(slice);
  return {.token_ids = token_ids_,
          .positions = positions_,
          .slot_mapping = slot_mapping_,
          .sequences = sequences_,
          .logits_rows = logits_rows_};
}

void StepBatch::append(const ScheduledSlice& slice) {
  const Sequence& sequence = *slice.sequence;
  const int64_t first = sequence.num_computed_tokens;
  sequences_.push_back({.query_start = static_cast<int64_t>(token_ids_.size()),
                        .query_len = slice.count(),
                        .context_len = first,
                        .block_table = sequence.block_table});
  const auto own = sequence.tokens.begin() + first;
  token_ids_.insert(token_ids_.end(), own, own + slice.num_own);
  token_ids_.insert(token_ids_.end(), slice.draft.begin(), slice.draft.end());
  for (int64_t position = first; position < first + slice.count(); ++position) {
    const int64_t block = sequence.block_table[static_cast<size_t>(position / kKvBlockSize)];
    positions_.push_back(static_cast<int32_t>(position));
    slot_mapping_.push_back(block * kKvBlockSize + position % kKvBlockSize);
  }
  const auto end = static_cast<int64_t>(token_ids_.size());
  for (int64_t row = end - slice.num_logits; row < end; ++row)
    logits_rows_.push_back(static_cast<int32_t>(row));
  // The last rows choose tokens, one and one for each of the draft; those before tell of the
  // prompt.
  const int64_t num_choices = slice.chooses() ? 1 + std::ssize(slice.draft) : 0;
  uses_.resize(logits_rows_.size() - static_cast<size_t>(num_choices));
  for (int64_t i = 0; i < num_choices; ++i) {
    uses_.push_back(Sampler::use_of(sequence.sampling, sequence.constraint != nullptr,
                                    sequence.num_generated() + i));
  }
}

}  // namespace tetrad
