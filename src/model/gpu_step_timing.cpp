// What GpuModel tells those who measure it.

#include <algorithm>
#include <vector>

#include "model/gpu_model.h"
#include "model/gpu_model_buffers.h"

namespace tetrad {

gpu::AttentionWork GpuModel::attention_work(std::span<const int32_t> sequences) const {
  gpu::AttentionWork work;
  if (!kernels_.is_profiling()) return work;
  for (const int32_t sequence : sequences) {
    const double context = inputs_->context_len.host[sequence];
    const double tokens = inputs_->query_len.host[sequence];
    work.keys += context + tokens;
    work.pairs += tokens * context + tokens * (tokens + 1) / 2;
  }
  return work;
}

gpu::AttentionWork GpuModel::prefill_work() const {
  std::vector<int32_t> sequences;
  for (uint32_t item = 0; kernels_.is_profiling() && item < shape().num_items; ++item) {
    sequences.push_back(inputs_->items.host[item].sequence);
  }
  std::ranges::sort(sequences);
  sequences.erase(std::ranges::unique(sequences).begin(), sequences.end());
  return attention_work(sequences);
}

Result<double> GpuModel::time_step(const Batch& batch, int count) {
  Result<double> seconds = time_replays(batch, count);
  // What is under way must not see the next step's inputs.
  if (!seconds) static_cast<void>(device_->synchronize());
  // Who knows whether the launches were made that bring the tables up to date.
  inputs_->forget_tables();
  return seconds;
}

Result<double> GpuModel::time_replays(const Batch& batch, int count) {
  if (std::ssize(batch.logits_rows) > logits_->rows_at_once())
    return fail(ErrorCode::resource_exhausted, "{} rows of logits, of which {} fit at once",
                batch.logits_rows.size(), logits_->rows_at_once());
  TETRAD_TRY(copy_inputs(batch, {}));
  TETRAD_TRY(device_->begin_graph());
  const Result<void> enqueued = compute();
  const auto graph = device_->end_graph();
  TETRAD_TRY(enqueued);
  if (!graph) return tl::unexpected(graph.error());
  device_->forget_times();
  TETRAD_TRY(device_->launch(**graph));
  TETRAD_ASSIGN(const int begin, device_->record_time());
  for (int i = 0; i < count; ++i)
    TETRAD_TRY(device_->launch(**graph));
  TETRAD_ASSIGN(const int end, device_->record_time());
  TETRAD_TRY(device_->synchronize());
  TETRAD_ASSIGN(const double total, device_->seconds_between(begin, end));
  return total / count;
}

}  // namespace tetrad
