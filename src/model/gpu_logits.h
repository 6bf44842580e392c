#pragma once

// A step's logits: on the device, and what has been brought to this machine's memory of them.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "gpu/device.h"
#include "kernels/gpu/gpu_kernels.h"
#include "kernels/kernels.h"
#include "model/gpu_weights.h"
#include "model/step_logits.h"

namespace tetrad {

/// What a row is summarised with, of SummarizeLogitsArgs: 0 where the best token is all that can be
/// had.
float exponent_scale(const LogitsUse& use);

class GpuLogits final : public LogitsSource {
 public:
  /// Has the logits of one row of the last step computed again, as row 0 on the device.
  using ComputeRow = std::function<Result<void>(int64_t row)>;
  struct Limits {
    int64_t rows_at_once = 0;  // on the device; what is more is computed in pieces of so many
    int64_t max_rows = 0;      // of a step
    int64_t vocab_size = 0;
  };

  /// `compute_row` brings rows back that others have taken the place of; without it no step has
  /// more rows than fit at once.
  Result<void> allocate(GpuMemory& memory, const Limits& limits, ComputeRow compute_row = nullptr);

  /// [rows_at_once, vocab_size], where the launches of a step put them.
  float* device() const { return device_; }
  int64_t rows_at_once() const { return limits_.rows_at_once; }
  /// What summarises so many of them there.
  gpu::SummarizeLogitsArgs summarize_args(const float* exponent_scales, uint32_t num_rows) const;

  /// A step of so many rows begins. `uses`: one for each, or none for whole rows. Errors:
  /// resource_exhausted where they are more than fit at once and there is no memory for them here.
  Result<void> begin(uint32_t num_rows, std::span<const LogitsUse> uses);
  /// Asks for what is wanted of rows `first` …, which are on the device now: whole rows, and what
  /// was found out about the others. `first` is a multiple of rows_at_once(). It is there after
  /// the next wait.
  Result<void> copy(uint32_t first, uint32_t count);

  /// Whether row() can bring it without computing it again.
  bool has_row(int64_t row) const {
    return is_here_[static_cast<size_t>(row)] || is_on_device(row);
  }
  std::optional<RowSummary> summary(int64_t row) const override;
  Result<std::span<const float>> row(int64_t row) override;
  /// All rows, if all were brought.
  Activations rows() const { return {host_, num_rows_, limits_.vocab_size}; }

 private:
  /// A summary for each row, and behind them a list for each, so that both come in one copy.
  struct Told {
    gpu::LogitsSummary* summaries = nullptr;
    LikelyToken* likely(int64_t num_rows) const {
      return reinterpret_cast<LikelyToken*>(summaries + num_rows);
    }
  };

  /// Of the rows that are computed together with row `first`.
  Told host_told(int64_t first) const;
  bool is_whole(int64_t row) const { return uses_[static_cast<size_t>(row)].is_whole; }
  bool is_on_device(int64_t row) const {
    return row >= first_on_device_ && row < first_on_device_ + num_on_device_;
  }
  Result<void> copy_rows(int64_t first, int64_t count);
  Result<void> bring(int64_t row);

  gpu::Device* gpu_ = nullptr;
  Limits limits_;
  ComputeRow compute_row_;
  float* device_ = nullptr;
  float* pinned_ = nullptr;
  Told told_;                       // on the device
  std::byte* host_told_ = nullptr;  // here, one for each piece
  uint32_t* maxima_ = nullptr;
  gpu::SummaryPart* parts_ = nullptr;
  uint32_t* finished_ = nullptr;

  // Of the last step.
  float* host_ = nullptr;  // pinned_ or many_
  int64_t num_rows_ = 0;
  std::vector<LogitsUse> uses_;
  std::vector<bool> is_here_;
  int64_t first_on_device_ = 0;
  int64_t num_on_device_ = 0;
  std::unique_ptr<float[]> many_;
  int64_t many_rows_ = 0;
};

}  // namespace tetrad
