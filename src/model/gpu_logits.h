#pragma once

// A step's logits: on the device, and what has been brought to this machine's memory of them.

#include <cstdint>
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
  /// For so many rows at once.
  Result<void> allocate(GpuMemory& memory, int64_t max_rows, int64_t vocab_size);

  /// [max_rows, vocab_size], where the launches of a step put them.
  float* device() const { return device_; }
  /// What summarises so many of them there.
  gpu::SummarizeLogitsArgs summarize_args(const float* exponent_scales, uint32_t num_rows) const;

  /// Asks for what is wanted of the rows computed: whole rows, and what was found out about the
  /// others. `uses`: one for each, or none for whole rows. It is there after the next wait.
  Result<void> copy(uint32_t num_rows, std::span<const LogitsUse> uses);
  /// Host memory for rows that are more than fit at once, as long as somebody asks for that many;
  /// they count as brought. Errors: resource_exhausted.
  Result<Activations> many(int64_t num_rows);
  /// Asks for the rows on the device as rows `first` … of many().
  Result<void> copy_to_many(int64_t first, uint32_t num_rows);

  std::optional<RowSummary> summary(int64_t row) const override;
  Result<std::span<const float>> row(int64_t row) override;
  /// All rows, if all were brought.
  Activations rows() const { return {host_, num_rows_, vocab_size_}; }

 private:
  /// A summary for each row, and behind them a list for each, so that both come in one copy.
  struct Told {
    gpu::LogitsSummary* summaries = nullptr;
    LikelyToken* likely(int64_t num_rows) const {
      return reinterpret_cast<LikelyToken*>(summaries + num_rows);
    }
  };

  Result<void> copy_rows(int64_t first, int64_t count);

  gpu::Device* gpu_ = nullptr;
  int64_t vocab_size_ = 0;
  float* device_ = nullptr;
  float* pinned_ = nullptr;
  Told told_;       // on the device
  Told host_told_;  // here
  uint32_t* maxima_ = nullptr;
  gpu::SummaryPart* parts_ = nullptr;
  uint32_t* finished_ = nullptr;

  // Of the last step.
  float* host_ = nullptr;  // pinned_ or many_
  int64_t num_rows_ = 0;
  std::vector<bool> is_here_;
  std::unique_ptr<float[]> many_;
  int64_t many_rows_ = 0;
};

}  // namespace tetrad
