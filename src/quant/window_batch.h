#pragma once

// What calibration computes on: windows of text as batches, and activations of all tokens.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <vector>

#include "checkpoint/config.h"
#include "kernels/batch.h"
#include "kernels/kernels.h"

namespace tetrad {

/// Activations of all tokens, [rows, cols].
class FloatMatrix {
 public:
  FloatMatrix(int64_t rows, int64_t cols)
      : values_(static_cast<size_t>(rows * cols)), rows_(rows), cols_(cols) {}
  Activations all() { return {values_.data(), rows_, cols_}; }
  Activations rows(int64_t first, int64_t count) {
    return {values_.data() + first * cols_, count, cols_};
  }
  /// Takes `from` as the rows that begin at `first`.
  void put(int64_t first, Activations from) {
    std::memcpy(values_.data() + first * cols_, from.data,
                static_cast<size_t>(from.rows * cols_) * sizeof(float));
  }

 private:
  std::vector<float> values_;
  int64_t rows_;
  int64_t cols_;
};

/// Some windows as one batch, with the cache of one layer for them.
class WindowBatch {
 public:
  WindowBatch(const ModelConfig& config, int64_t window, int64_t max_tokens)
      : window_(window),
        window_blocks_(kv_blocks_for(window)),
        block_table_(static_cast<size_t>(window_blocks_ * ((max_tokens + window - 1) / window))) {
    std::iota(block_table_.begin(), block_table_.end(), 0);
    const auto num_blocks = static_cast<int64_t>(block_table_.size());
    const auto values = static_cast<size_t>(num_blocks * kKvBlockSize * config.kv_size());
    k_.resize(values);
    v_.resize(values);
    cache_ = {.dtype = DType::f32,
              .k = reinterpret_cast<std::byte*>(k_.data()),
              .v = reinterpret_cast<std::byte*>(v_.data()),
              .num_blocks = num_blocks,
              .num_kv_heads = config.num_key_value_heads,
              .head_dim = config.head_dim};
  }

  const KvCacheLayer& cache() const { return cache_; }

  /// The batch of `ids`, whole windows but perhaps the last; valid until the next call.
  Batch of(std::span<const int32_t> ids) {
    positions_.clear();
    slots_.clear();
    slices_.clear();
    const auto count = static_cast<int64_t>(ids.size());
    for (int64_t begin = 0, index = 0; begin < count; begin += window_, ++index) {
      const int64_t length = std::min(window_, count - begin);
      slices_.push_back({.query_start = begin,
                         .query_len = length,
                         .context_len = 0,
                         .block_table = std::span<const int32_t>(block_table_)
                                            .subspan(static_cast<size_t>(index * window_blocks_),
                                                     static_cast<size_t>(window_blocks_))});
      for (int64_t position = 0; position < length; ++position) {
        positions_.push_back(static_cast<int32_t>(position));
        slots_.push_back(index * window_blocks_ * kKvBlockSize + position);
      }
    }
    return {.token_ids = ids,
            .positions = positions_,
            .slot_mapping = slots_,
            .sequences = slices_,
            .logits_rows = {}};
  }

 private:
  int64_t window_;
  int64_t window_blocks_;
  std::vector<int32_t> block_table_;
  std::vector<float> k_, v_;
  KvCacheLayer cache_;
  std::vector<int32_t> positions_;
  std::vector<int64_t> slots_;
  std::vector<SequenceSlice> slices_;
};

}  // namespace tetrad
