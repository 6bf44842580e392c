#pragma once

// Where a sequence's queries, keys and results are, for prefill's attention.

#include "kernels/gpu/attention_tile.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

/// A sequence's columns for one KV head: pairs of a token of the step and one of the query heads.
struct PrefillSequence {
  const AttentionArgs& args;
  uint32_t kv_head;
  uint32_t context;      // tokens in the cache before the step
  uint32_t query_len;    // tokens of the step
  uint64_t first_token;  // in the batch

  TETRAD_DEVICE PrefillSequence(const AttentionArgs& all, uint32_t sequence, uint32_t head)
      : args(all),
        kv_head(head),
        context(static_cast<uint32_t>(all.context_len[sequence])),
        query_len(static_cast<uint32_t>(all.query_len[sequence])),
        first_token(static_cast<uint64_t>(all.query_start[sequence])) {}

  TETRAD_DEVICE uint32_t num_columns() const { return query_len * args.group; }
  /// Keys that columns up to `end` see.
  TETRAD_DEVICE uint32_t keys_of(uint32_t end) const {
    return context + ((end < num_columns() ? end : num_columns()) - 1) / args.group + 1;
  }
  /// Where a column's query and its result begin in a token's row.
  template <uint32_t kHeadDim>
  TETRAD_DEVICE uint32_t head(uint32_t column) const {
    return (kv_head * args.group + column % args.group) * kHeadDim;
  }
  /// A column's query; null: there is no such column.
  template <uint32_t kHeadDim>
  TETRAD_DEVICE const uint16_t* query(uint32_t column) const {
    if (column >= num_columns()) return nullptr;
    const uint64_t row = (first_token + column / args.group) * args.num_kv_heads * args.group;
    return args.q + row * kHeadDim + head<kHeadDim>(column);
  }
  TETRAD_DEVICE uint16_t* attended(uint32_t column) const {
    return args.attended + (first_token + column / args.group) * args.attended_stride;
  }
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
