#include "model/gpu_logits.h"

#include <algorithm>
#include <limits>
#include <new>
#include <numbers>
#include <utility>

namespace tetrad {
namespace {

using gpu::DeviceAddress;

constexpr int64_t kSummaryBytes = sizeof(gpu::LogitsSummary);
constexpr int64_t kListBytes = gpu::kMaxCandidates * int64_t{sizeof(LikelyToken)};
constexpr int64_t kToldBytes = kSummaryBytes + kListBytes;

}  // namespace

float exponent_scale(const LogitsUse& use) {
  // Beyond these an exponent would not be a number of the accuracy that is promised.
  constexpr float kLowestTemperature = 1e-30f;
  constexpr float kHighestTemperature = 1e30f;
  if (use.is_whole || use.temperature < kLowestTemperature ||
      use.temperature > kHighestTemperature) {
    return 0;
  }
  return static_cast<float>(std::numbers::log2e / double{use.temperature});
}

Result<void> GpuLogits::allocate(GpuMemory& memory, const Limits& limits, ComputeRow compute_row) {
  gpu_ = &memory.device();
  limits_ = limits;
  compute_row_ = std::move(compute_row);
  const int64_t rows = limits.rows_at_once;
  const auto vocab = static_cast<uint32_t>(limits.vocab_size);
  TETRAD_ASSIGN(device_, memory.array<float>(rows * vocab));
  TETRAD_ASSIGN(std::byte* const pinned,
                memory.allocate_pinned(rows * vocab * int64_t{sizeof(float)}));
  pinned_ = reinterpret_cast<float*>(pinned);
  TETRAD_ASSIGN(const DeviceAddress told, memory.allocate(rows * kToldBytes));
  told_.summaries = reinterpret_cast<gpu::LogitsSummary*>(told);
  TETRAD_ASSIGN(host_told_, memory.allocate_pinned(limits.max_rows * kToldBytes));
  TETRAD_ASSIGN(maxima_, memory.array<uint32_t>(rows * gpu::summary_spans(vocab)));
  TETRAD_ASSIGN(parts_, memory.array<gpu::SummaryPart>(rows * gpu::summary_tiles(vocab)));
  TETRAD_ASSIGN(finished_, memory.zeros<uint32_t>(rows));
  host_ = pinned_;
  return {};
}

gpu::SummarizeLogitsArgs GpuLogits::summarize_args(const float* exponent_scales,
                                                   uint32_t num_rows) const {
  return {.logits = device_,
          .vocab_size = static_cast<uint32_t>(limits_.vocab_size),
          .exponent_scales = exponent_scales,
          .summaries = told_.summaries,
          .candidates = told_.likely(num_rows),
          .maxima = maxima_,
          .parts = parts_,
          .finished = finished_};
}

Result<void> GpuLogits::begin(uint32_t num_rows, std::span<const LogitsUse> uses) {
  num_rows_ = num_rows;
  uses_.assign(uses.begin(), uses.end());
  if (uses.empty()) uses_.resize(num_rows);  // whole ones
  is_here_.assign(num_rows, false);
  num_on_device_ = 0;
  if (num_rows_ <= limits_.rows_at_once) {
    host_ = pinned_;
    many_.reset();
    many_rows_ = 0;
    return {};
  }
  // What nobody asks for is never touched, and takes none.
  if (num_rows_ > many_rows_) {
    many_.reset();
    many_.reset(new (std::nothrow) float[static_cast<size_t>(num_rows_ * limits_.vocab_size)]);
    many_rows_ = many_ == nullptr ? 0 : num_rows_;
  }
  host_ = many_.get();
  if (many_ != nullptr) return {};
  return fail(ErrorCode::resource_exhausted, "no memory for the logits of {} tokens, {} MiB",
              num_rows_,
              num_rows_ * limits_.vocab_size * static_cast<int64_t>(sizeof(float)) >> 20);
}

Result<void> GpuLogits::copy(uint32_t first, uint32_t count) {
  first_on_device_ = first;
  num_on_device_ = count;
  const int64_t end = first_on_device_ + count;
  int64_t told_bytes = 0;
  int64_t first_whole = first;
  for (int64_t row = first; row < end; ++row) {
    if (is_whole(row)) {
      // Rows in a row come together.
      if (row == first || !is_whole(row - 1)) first_whole = row;
      if (row + 1 == end || !is_whole(row + 1))
        TETRAD_TRY(copy_rows(first_whole, row + 1 - first_whole));
      continue;
    }
    const bool has_list = uses_[static_cast<size_t>(row)].temperature > 0;
    const int64_t num_told = row + 1 - first;
    told_bytes = std::max(told_bytes, has_list ? count * kSummaryBytes + num_told * kListBytes
                                               : num_told * kSummaryBytes);
  }
  return gpu_->copy_to_host(host_told(first).summaries,
                            reinterpret_cast<DeviceAddress>(told_.summaries), told_bytes);
}

GpuLogits::Told GpuLogits::host_told(int64_t first) const {
  return {reinterpret_cast<gpu::LogitsSummary*>(host_told_ + first * kToldBytes)};
}

Result<void> GpuLogits::copy_rows(int64_t first, int64_t count) {
  const int64_t vocab = limits_.vocab_size;
  TETRAD_TRY(gpu_->copy_to_host(
      host_ + first * vocab,
      reinterpret_cast<DeviceAddress>(device_ + (first - first_on_device_) * vocab),
      count * vocab * int64_t{sizeof(float)}));
  std::fill_n(is_here_.begin() + first, count, true);
  return {};
}

std::optional<RowSummary> GpuLogits::summary(int64_t row) const {
  if (is_whole(row) || is_here_[static_cast<size_t>(row)]) return std::nullopt;
  const int64_t first = row / limits_.rows_at_once * limits_.rows_at_once;
  const int64_t count = std::min(limits_.rows_at_once, num_rows_ - first);
  const Told told = host_told(first);
  const gpu::LogitsSummary& known = told.summaries[row - first];
  RowSummary summary{.vocab_size = limits_.vocab_size,
                     .is_finite = known.is_finite != 0,
                     .largest = known.largest,
                     .best = static_cast<int32_t>(known.best),
                     .bound = std::numeric_limits<float>::infinity(),
                     .weights = known.sum,
                     .weights_error = known.sum * gpu::kSummarySumError};
  if (known.num_candidates <= gpu::kMaxCandidates) {
    summary.bound = known.bound;
    summary.likely = {told.likely(count) + (row - first) * gpu::kMaxCandidates,
                      known.num_candidates};
  }
  return summary;
}

Result<std::span<const float>> GpuLogits::row(int64_t row) {
  if (!is_here_[static_cast<size_t>(row)]) TETRAD_TRY(bring(row));
  return rows().row_span(row);
}

Result<void> GpuLogits::bring(int64_t row) {
  if (!is_on_device(row)) {
    num_on_device_ = 0;
    TETRAD_TRY(compute_row_(row));
    first_on_device_ = row;
    num_on_device_ = 1;
  }
  TETRAD_TRY(copy_rows(row, 1));
  auto done = gpu_->synchronize();
  if (!done) is_here_[static_cast<size_t>(row)] = false;
  return done;
}

}  // namespace tetrad
