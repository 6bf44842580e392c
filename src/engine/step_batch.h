#pragma once

#include <cstdint>
#include <vector>

#include "engine/scheduler.h"
#include "kernels/batch.h"

namespace tetrad {

/// The arrays behind a Batch, built from what the scheduler chose and kept between steps for their
/// memory.
class StepBatch {
 public:
  /// Valid until the next call. Rows of logits come in the order of `step`, one for each slice that
  /// reaches the end of its sequence (see wants_logits).
  Batch build(const std::vector<ScheduledSlice>& step);

  /// Whether the slice computes the sequence's last token, so that its logits choose the next one.
  static bool wants_logits(const ScheduledSlice& slice) {
    return slice.count == slice.sequence->num_uncomputed();
  }

 private:
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int64_t> slot_mapping_;
  std::vector<SequenceSlice> sequences_;
  std::vector<int32_t> logits_rows_;
};

}  // namespace tetrad
