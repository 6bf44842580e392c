#include "model/gpu_step_inputs.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/integer_math.h"
#include "model/gpu_logits.h"

namespace tetrad {
namespace {

/// Arrays begin at multiples of so many bytes.
constexpr int64_t kInputAlignment = 16;
constexpr int32_t kNoBlock = -1;

}  // namespace

Result<void> GpuStepInputs::allocate(GpuMemory& memory, const Limits& limits) {
  limits_ = limits;
  table_stride = kv_blocks_for(limits.max_model_len);
  const int64_t table = limits.max_num_seqs * table_stride;
  const auto tokens = static_cast<uint32_t>(limits.max_num_batched_tokens);
  const auto sequences = static_cast<uint32_t>(limits.max_num_seqs);
  const int64_t bytes =
      lay_out({.num_tokens = tokens,
               .num_logits = tokens,
               .num_sequences = sequences,
               .num_decodes = sequences,
               .num_items = static_cast<uint32_t>(
                   tokens * limits.query_group / limits.prefill_columns + sequences)}) +
      table * static_cast<int64_t>(sizeof(gpu::BlockTableUpdate));
  TETRAD_ASSIGN(host_, memory.allocate_pinned(bytes));
  TETRAD_ASSIGN(device_, memory.array<std::byte>(bytes));
  TETRAD_ASSIGN(block_table, memory.array<int32_t>(table));
  known_tables_.assign(static_cast<size_t>(table), kNoBlock);
  return {};
}

int64_t GpuStepInputs::lay_out(const GpuStepShape& shape) {
  int64_t at = 0;
  const auto place = [&]<class T>(Array<T>& array, int64_t count) {
    if (host_ != nullptr)
      array = {reinterpret_cast<T*>(host_ + at), reinterpret_cast<T*>(device_ + at)};
    const int64_t end = at + count * static_cast<int64_t>(sizeof(T));
    at = ceil_div(end, kInputAlignment) * kInputAlignment;
  };
  place(num_updates, 1);
  place(slot_mapping, shape.num_tokens);
  place(token_ids, shape.num_tokens);
  place(positions, shape.num_tokens);
  place(logits_rows, shape.num_logits);
  place(exponent_scales, shape.num_logits);
  place(query_start, shape.num_sequences);
  place(query_len, shape.num_sequences);
  place(context_len, shape.num_sequences);
  place(decodes, shape.num_decodes);
  place(items, shape.num_items);
  const int64_t bytes = at;
  place(updates, 0);
  return bytes;
}

int64_t GpuStepInputs::num_bytes() const {
  return reinterpret_cast<const std::byte*>(updates.host + *num_updates.host) - host_;
}

Result<GpuStepShape> GpuStepInputs::shape_of(const Batch& batch) const {
  if (batch.num_tokens() > limits_.max_num_batched_tokens ||
      std::ssize(batch.sequences) > limits_.max_num_seqs ||
      std::ssize(batch.logits_rows) > batch.num_tokens()) {
    return fail(ErrorCode::invalid_argument,
                "a step of {} tokens of {} sequences with {} rows of logits is beyond the limits "
                "of the GPU's buffers: {} tokens of {} sequences",
                batch.num_tokens(), batch.sequences.size(), batch.logits_rows.size(),
                limits_.max_num_batched_tokens, limits_.max_num_seqs);
  }
  GpuStepShape shape{.num_tokens = static_cast<uint32_t>(batch.num_tokens()),
                     .num_logits = static_cast<uint32_t>(batch.logits_rows.size()),
                     .num_sequences = static_cast<uint32_t>(batch.sequences.size())};
  int64_t most_groups = 0;
  for (const SequenceSlice& slice : batch.sequences) {
    const int64_t num_keys = slice.context_len + slice.query_len;
    if (num_keys > limits_.max_model_len)
      return fail(ErrorCode::invalid_argument, "a sequence of {} tokens is beyond max_model_len {}",
                  num_keys, limits_.max_model_len);
    if (slice.query_len == 1) {
      ++shape.num_decodes;
      most_groups = std::max(most_groups, ceil_div(num_keys, int64_t{gpu::kGroupKeys}));
    } else {
      shape.num_items += static_cast<uint32_t>(
          ceil_div(slice.query_len * limits_.query_group, limits_.prefill_columns));
    }
  }
  if (shape.num_decodes > 0) shape.max_groups = std::bit_ceil(static_cast<uint32_t>(most_groups));
  return shape;
}

Result<void> GpuStepInputs::fill(const Batch& batch, std::span<const LogitsUse> uses) {
  TETRAD_ASSIGN(shape_, shape_of(batch));
  lay_out(shape_);
  std::ranges::copy(batch.token_ids, token_ids.host);
  std::ranges::copy(batch.positions, positions.host);
  std::ranges::copy(batch.slot_mapping, slot_mapping.host);
  std::ranges::copy(batch.logits_rows, logits_rows.host);
  for (uint32_t row = 0; row < shape_.num_logits; ++row)
    exponent_scales.host[row] = uses.empty() ? 0 : exponent_scale(uses[row]);
  uint32_t num_decodes = 0;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceSlice& slice = batch.sequences[s];
    query_start.host[s] = static_cast<int32_t>(slice.query_start);
    query_len.host[s] = static_cast<int32_t>(slice.query_len);
    context_len.host[s] = static_cast<int32_t>(slice.context_len);
    if (slice.query_len == 1) decodes.host[num_decodes++] = static_cast<int32_t>(s);
  }
  fill_items(batch);
  update_tables(batch);
  return {};
}

void GpuStepInputs::fill_items(const Batch& batch) {
  uint32_t num_items = 0;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const int64_t columns = batch.sequences[s].query_len * limits_.query_group;
    if (batch.sequences[s].query_len == 1) continue;
    for (int64_t column = 0; column < columns; column += limits_.prefill_columns)
      items.host[num_items++] = {static_cast<int32_t>(s), static_cast<int32_t>(column)};
  }
  // What sees most keys takes longest, and begins first.
  std::ranges::sort(
      std::span(items.host, num_items), std::ranges::greater{}, [&](const gpu::PrefillItem& item) {
        const SequenceSlice& slice = batch.sequences[static_cast<size_t>(item.sequence)];
        return slice.context_len + item.first_column / limits_.query_group;
      });
}

void GpuStepInputs::update_tables(const Batch& batch) {
  uint32_t count = 0;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceSlice& slice = batch.sequences[s];
    const auto used = slice.block_table.first(
        static_cast<size_t>(kv_blocks_for(slice.context_len + slice.query_len)));
    const int64_t first = static_cast<int64_t>(s) * table_stride;
    int32_t* known = known_tables_.data() + first;
    for (size_t i = 0; i < used.size(); ++i) {
      if (used[i] == known[i]) continue;
      known[i] = used[i];
      updates.host[count++] = {static_cast<uint32_t>(first + static_cast<int64_t>(i)), used[i]};
    }
  }
  *num_updates.host = count;
}

Result<void> GpuStepInputs::copy_to(gpu::Device& device) {
  return device.copy_to_device(reinterpret_cast<gpu::DeviceAddress>(device_), host_, num_bytes());
}

void GpuStepInputs::forget_tables() {
  std::ranges::fill(known_tables_, kNoBlock);
}

}  // namespace tetrad
