#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/scheduler.h"
#include "kernels/batch.h"
#include "model/step_logits.h"

namespace tetrad {

/// The arrays behind a Batch, built from what the scheduler chose and kept between steps for their
/// memory.
class StepBatch {
 public:
  /// Valid until the next call and while the sequences stay as they are. Rows of logits come in the
  /// order of the slices, num_logits for each.
  Batch build(const std::vector<ScheduledSlice>& slices);
  /// What the rows of logits of the last build() will be asked for.
  std::span<const LogitsUse> uses() const { return uses_; }

 private:
  void append(const ScheduledSlice& slice);

  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int64_t> slot_mapping_;
  std::vector<SequenceSlice> sequences_;
  std::vector<int32_t> logits_rows_;
  std::vector<LogitsUse> uses_;
};

}  // namespace tetrad
