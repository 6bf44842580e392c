#pragma once

// Which heads, experts, columns and tokens of a model one rank holds.

#include <cstdint>

#include "base/error.h"
#include "plan/sharding.h"

namespace tetrad::plan {

/// begin <= i < end.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool contains(int64_t i) const { return begin <= i && i < end; }
  bool operator==(const Range&) const = default;
};

struct RankShare {
  Layout layout;
  int64_t rank = 0;
  Range heads;
  /// That the heads read. Where ranks exceed them, several ranks have the same one.
  Range kv_heads;
  /// Of the ranks that have the same KV heads this is the first, who counts them in what is summed
  /// over all.
  bool counts_kv_heads = true;
  Range experts;         // whole, or the same of each
  Range expert_columns;  // of intermediate_size
  Range vocabulary;      // rows of embedding and head; of the last ranks fewer, or none

  /// As the model looks to this rank's kernels and KV cache: with its heads and KV heads alone.
  /// All else is as in the model.
  ModelConfig local_config(const ModelConfig& config) const;
};

/// For a layout that check_layout accepts. rank: 0 to layout.tensor_parallel - 1.
RankShare rank_share(const ModelConfig& config, Layout layout, int64_t rank);

/// The first error that check_division has, with the sizes that would do.
Result<void> check_layout(const PlannedModel& model, Layout layout);

}  // namespace tetrad::plan
