// What a GPU says of rows of logits, against the rows.

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "model/gpu_logits.h"
#include "model/gpu_selftest.h"

namespace tetrad {
namespace {

/// As a model's may be; in some rows many are alike, and one has a number that is none.
std::vector<float> selftest_logits(int64_t num_rows, int64_t vocab_size) {
  std::mt19937 random(17);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(static_cast<size_t>(num_rows * vocab_size));
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = normal(random);
    if (i / static_cast<size_t>(vocab_size) % 4 == 1) logits[i] = std::round(logits[i] * 4) / 4;
  }
  logits.back() = std::numeric_limits<float>::quiet_NaN();
  return logits;
}

bool is_right(const RowSummary& summary, std::span<const float> row, double temperature) {
  const bool is_finite = std::ranges::all_of(row, [](float logit) { return std::isfinite(logit); });
  if (!is_finite || !summary.is_finite) return is_finite == summary.is_finite;
  const auto best = std::ranges::max_element(row);
  double weights = 0;
  for (const float logit : row)
    weights += std::exp((double{logit} - *best) / temperature);
  const auto num_likely =
      std::ranges::count_if(row, [&](float logit) { return logit >= summary.bound; });
  // Rows with few values may have more of the likeliest than are told.
  const bool is_told = summary.bound < std::numeric_limits<float>::infinity();
  return summary.best == best - row.begin() && summary.largest == *best &&
         std::fabs(summary.weights - weights) <= summary.weights_error &&
         (!is_told || num_likely > 0) && num_likely == std::ssize(summary.likely) &&
         std::ranges::is_sorted(summary.likely, {}, &LikelyToken::id) &&
         std::ranges::all_of(summary.likely, [&](const LikelyToken& token) {
           return token.logit == row[token.id] && token.logit >= summary.bound;
         });
}

}  // namespace

Result<int64_t> count_wrong_gpu_summaries(gpu::Device& device, int64_t num_rows,
                                          int64_t vocab_size) {
  TETRAD_ASSIGN(gpu::GpuKernels kernels, gpu::GpuKernels::create(device));
  GpuMemory memory(device);
  GpuLogits logits;
  TETRAD_TRY(logits.allocate(
      memory, {.rows_at_once = num_rows, .max_rows = num_rows, .vocab_size = vocab_size}));
  const std::vector<float> rows = selftest_logits(num_rows, vocab_size);
  TETRAD_TRY(device.copy_to_device(reinterpret_cast<gpu::DeviceAddress>(logits.device()),
                                   rows.data(), std::ssize(rows) * int64_t{sizeof(float)}));
  const LogitsUse use{.is_whole = false, .temperature = 0.9f};
  const std::vector<LogitsUse> uses(static_cast<size_t>(num_rows), use);
  const std::vector<float> scales(static_cast<size_t>(num_rows), exponent_scale(use));
  TETRAD_ASSIGN(float* on_device, memory.array<float>(num_rows));
  TETRAD_TRY(device.copy_to_device(reinterpret_cast<gpu::DeviceAddress>(on_device), scales.data(),
                                   num_rows * int64_t{sizeof(float)}));
  const auto count = static_cast<uint32_t>(num_rows);
  int64_t wrong = 0;
  // The second time nothing of the first may be left.
  for (int round = 0; round < 2; ++round) {
    kernels.summarize_logits(logits.summarize_args(on_device, count), count);
    TETRAD_TRY(kernels.status());
    TETRAD_TRY(logits.begin(count, uses));
    TETRAD_TRY(logits.copy(0, count));
    TETRAD_TRY(device.synchronize());
    for (int64_t row = 0; row < num_rows; ++row) {
      const std::span<const float> whole(rows.data() + row * vocab_size,
                                         static_cast<size_t>(vocab_size));
      const auto summary = logits.summary(row);
      if (!summary || !is_right(*summary, whole, double{use.temperature})) ++wrong;
    }
  }
  return wrong;
}

}  // namespace tetrad
