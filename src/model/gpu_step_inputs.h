#pragma once

// What a step computes on, packed into one piece of page-locked memory, which goes to the device in
// one copy. Where an array lies there depends on the step's shape alone, so a recorded step finds
// everything where it was. Block tables stay on the device: only the blocks that have come to a
// sequence since the last step go along.

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "gpu/device.h"
#include "kernels/batch.h"
#include "kernels/gpu/gpu_kernels.h"
#include "model/gpu_weights.h"
#include "model/step_logits.h"

namespace tetrad {

/// What the launches of a step depend on.
struct GpuStepShape {
  uint32_t num_tokens = 0;
  uint32_t num_logits = 0;
  uint32_t num_sequences = 0;
  uint32_t num_decodes = 0;  // sequences with one token
  uint32_t num_items = 0;    // of attend_prefill
  uint32_t max_groups = 0;   // of keys of a decoding sequence, rounded up to a power of two
  auto operator<=>(const GpuStepShape&) const = default;
};

class GpuStepInputs {
 public:
  struct Limits {
    int64_t max_num_batched_tokens = 0;
    int64_t max_num_seqs = 0;
    int64_t max_model_len = 0;
    int64_t query_group = 1;      // query heads of a KV head
    int64_t prefill_columns = 1;  // of an item of attend_prefill
  };
  /// One array in both memories.
  template <class T>
  struct Array {
    T* host = nullptr;
    T* device = nullptr;
  };

  Result<void> allocate(GpuMemory& memory, const Limits& limits);
  /// `uses`: one for each row of logits, or none. Errors: invalid_argument for a batch beyond the
  /// limits, after which the inputs are those of before.
  Result<void> fill(const Batch& batch, std::span<const LogitsUse> uses);
  Result<void> copy_to(gpu::Device& device);
  /// To be called when a step may not have begun on the device: all tables go along with the next.
  void forget_tables();

  const GpuStepShape& shape() const { return shape_; }
  /// What copy_to() copies.
  int64_t num_bytes() const;

  // Since fill(), and as long as the shape stays the same.
  Array<int64_t> slot_mapping;
  Array<int32_t> token_ids, positions, logits_rows;
  Array<float> exponent_scales;  // of rows of logits
  Array<int32_t> query_start, query_len, context_len;
  Array<int32_t> decodes;  // sequences with one token
  Array<gpu::PrefillItem> items;
  Array<uint32_t> num_updates;
  Array<gpu::BlockTableUpdate> updates;
  /// On the device, [max_num_seqs, table_stride].
  int32_t* block_table = nullptr;
  int64_t table_stride = 0;

 private:
  Result<GpuStepShape> shape_of(const Batch& batch) const;
  /// Places the arrays of a shape one after the other, once there is memory; returns the bytes up
  /// to the updates.
  int64_t lay_out(const GpuStepShape& shape);
  void fill_items(const Batch& batch);
  void update_tables(const Batch& batch);

  Limits limits_;
  GpuStepShape shape_;
  std::byte* host_ = nullptr;
  std::byte* device_ = nullptr;
  std::vector<int32_t> known_tables_;  // what is in block_table
};

}  // namespace tetrad
