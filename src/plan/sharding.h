#pragma once

// Which part of each tensor a rank holds, and what does not divide.

#include <cstdint>
#include <vector>

#include "checkpoint/survey.h"
#include "plan/planned_model.h"

namespace tetrad::plan {

struct Layout {
  /// Ranks that share one model.
  int64_t tensor_parallel = 1;
  /// Experts go to the ranks whole instead of being cut.
  bool expert_parallel = false;
};

/// A class of tensors on the rank that holds most of it (the first, where shares differ).
struct Shard {
  int dim = -1;  // that is cut: 0 rows, 1 columns, -1 none
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t count = 0;  // tensors on this rank: fewer than in the model with expert parallelism
  /// Of all `count`. A block-FP8 slice has the scale of each block it touches.
  int64_t bytes = 0;
};

Shard shard_of(const WeightClass& weight, const ModelConfig& config, Layout layout);

/// Query and KV heads on a rank. With more ranks than KV heads each rank has one, which others have
/// too.
int64_t heads_per_rank(const ModelConfig& config, Layout layout);
int64_t kv_heads_per_rank(const ModelConfig& config, Layout layout);

/// What the layout does not divide evenly, one sentence each: an error where no rank could hold its
/// share, a warning where it costs something or other engines refuse it.
std::vector<Finding> check_division(const PlannedModel& model, Layout layout);

/// The sizes up to `limit` for which check_division has nothing to say.
std::vector<int64_t> dividing_sizes(const PlannedModel& model, bool expert_parallel, int64_t limit);

}  // namespace tetrad::plan
