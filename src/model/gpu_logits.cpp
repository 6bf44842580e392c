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

Result<void> GpuLogits::allocate(GpuMemory& memory, int64_t max_rows, int64_t vocab_size) {
  gpu_ = &memory.device();
  vocab_size_ = vocab_size;
  const auto vocab = static_cast<uint32_t>(vocab_size);
  TETRAD_ASSIGN(device_, memory.array<float>(max_rows * vocab_size));
  TETRAD_ASSIGN(std::byte* const pinned,
                memory.allocate_pinned(max_rows * vocab_size * int64_t{sizeof(float)}));
  pinned_ = reinterpret_cast<float*>(pinned);
  const int64_t told_bytes = max_rows * (kSummaryBytes + kListBytes);
  TETRAD_ASSIGN(const DeviceAddress told, memory.allocate(told_bytes));
  TETRAD_ASSIGN(std::byte* const host_told, memory.allocate_pinned(told_bytes));
  told_.summaries = reinterpret_cast<gpu::LogitsSummary*>(told);
  host_told_.summaries = reinterpret_cast<gpu::LogitsSummary*>(host_told);
  TETRAD_ASSIGN(maxima_, memory.array<uint32_t>(max_rows * gpu::summary_spans(vocab)));
  TETRAD_ASSIGN(parts_, memory.array<gpu::SummaryPart>(max_rows * gpu::summary_tiles(vocab)));
  TETRAD_ASSIGN(finished_, memory.zeros<uint32_t>(max_rows));
  host_ = pinned_;
  return {};
}

gpu::SummarizeLogitsArgs GpuLogits::summarize_args(const float* exponent_scales,
                                                   uint32_t num_rows) const {
  return {.logits = device_,
          .vocab_size = static_cast<uint32_t>(vocab_size_),
          .exponent_scales = exponent_scales,
          .summaries = told_.summaries,
          .candidates = told_.likely(num_rows),
          .maxima = maxima_,
          .parts = parts_,
          .finished = finished_};
}

Result<void> GpuLogits::copy(uint32_t num_rows, std::span<const LogitsUse> uses) {
  host_ = pinned_;
  num_rows_ = num_rows;
  many_.reset();
  many_rows_ = 0;
  is_here_.assign(num_rows, false);
  const auto is_whole = [&](int64_t row) {
    return uses.empty() || uses[static_cast<size_t>(row)].is_whole;
  };
  int64_t told_bytes = 0;
  int64_t first_whole = 0;
  for (int64_t row = 0; row < num_rows_; ++row) {
    if (is_whole(row)) {
      // Rows in a row come together.
      if (row == 0 || !is_whole(row - 1)) first_whole = row;
      if (row + 1 == num_rows_ || !is_whole(row + 1))
        TETRAD_TRY(copy_rows(first_whole, row + 1 - first_whole));
      continue;
    }
    const bool has_list = uses[static_cast<size_t>(row)].temperature > 0;
    told_bytes = std::max(told_bytes, has_list ? num_rows_ * kSummaryBytes + (row + 1) * kListBytes
                                               : (row + 1) * kSummaryBytes);
  }
  return gpu_->copy_to_host(host_told_.summaries, reinterpret_cast<DeviceAddress>(told_.summaries),
                            told_bytes);
}

Result<void> GpuLogits::copy_rows(int64_t first, int64_t count) {
  TETRAD_TRY(gpu_->copy_to_host(host_ + first * vocab_size_,
                                reinterpret_cast<DeviceAddress>(device_ + first * vocab_size_),
                                count * vocab_size_ * int64_t{sizeof(float)}));
  std::fill_n(is_here_.begin() + first, count, true);
  return {};
}

Result<Activations> GpuLogits::many(int64_t num_rows) {
  if (num_rows > many_rows_) {
    many_.reset();
    many_.reset(new (std::nothrow) float[static_cast<size_t>(num_rows * vocab_size_)]);
    many_rows_ = many_ == nullptr ? 0 : num_rows;
  }
  if (many_ == nullptr) {
    return fail(ErrorCode::resource_exhausted, "no memory for the logits of {} tokens, {} MiB",
                num_rows, num_rows * vocab_size_ * static_cast<int64_t>(sizeof(float)) >> 20);
  }
  host_ = many_.get();
  num_rows_ = num_rows;
  is_here_.assign(static_cast<size_t>(num_rows), true);
  return rows();
}

Result<void> GpuLogits::copy_to_many(int64_t first, uint32_t num_rows) {
  return gpu_->copy_to_host(host_ + first * vocab_size_, reinterpret_cast<DeviceAddress>(device_),
                            num_rows * vocab_size_ * int64_t{sizeof(float)});
}

std::optional<RowSummary> GpuLogits::summary(int64_t row) const {
  if (is_here_[static_cast<size_t>(row)]) return std::nullopt;
  const gpu::LogitsSummary& known = host_told_.summaries[row];
  RowSummary summary{.vocab_size = vocab_size_,
                     .is_finite = known.is_finite != 0,
                     .largest = known.largest,
                     .best = static_cast<int32_t>(known.best),
                     .bound = std::numeric_limits<float>::infinity(),
                     .weights = known.sum,
                     .weights_error = known.sum * gpu::kSummarySumError};
  if (known.num_candidates <= gpu::kMaxCandidates) {
    summary.bound = known.bound;
    summary.likely = {host_told_.likely(num_rows_) + row * gpu::kMaxCandidates,
                      known.num_candidates};
  }
  return summary;
}

Result<std::span<const float>> GpuLogits::row(int64_t row) {
  if (!is_here_[static_cast<size_t>(row)]) {
    TETRAD_TRY(copy_rows(row, 1));
    if (auto done = gpu_->synchronize(); !done) {
      is_here_[static_cast<size_t>(row)] = false;
      return tl::unexpected(std::move(done.error()));
    }
  }
  return rows().row_span(row);
}

}  // namespace tetrad
