#pragma once

// Whether a GPU computes what it should: a small model of random weights against the CPU in
// float32, and a token's bits alone, in a batch and in chunks.

#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "gpu/device.h"
#include "model/synthetic_model.h"

namespace tetrad {

struct GpuSelftestOptions {
  SyntheticShape shape;
  int64_t num_tokens = 600;  // of the sequence; beyond 512 attention has groups of keys to merge
  int64_t chunk = 250;       // the first of the chunks in which it is computed again
  int64_t decodes = 8;       // tokens at its end that are computed one by one, as decode does
};

struct GpuSelftestResult {
  /// Of the logits of a token, relative to their size: the median over the tokens.
  double median_error = 0;
  /// Tokens whose most likely successor is not the CPU's, though the CPU's lead is more than
  /// kSelftestMargin of the logits' size.
  int64_t num_wrong_choices = 0;
  /// Tokens with other bits in chunks, or one by one beside others, than all at once.
  int64_t num_other_bits = 0;
  int64_t num_tokens = 0;

  bool passed() const;
};

/// Weights and activations of 11 bits, and keys on the other side of a rounding, give 0.003 to
/// 0.005.
inline constexpr double kSelftestTolerance = 0.01;
inline constexpr double kSelftestMargin = 0.1;
/// Of the tokens: where two experts' scores are almost alike, either may be visited, and what a
/// random model then says has little to do with what it would have said.
inline constexpr double kSelftestWrongShare = 0.02;

/// Summarises so many random rows of logits on the device and returns how many of them it says
/// something wrong of. Errors: what the device says.
Result<int64_t> count_wrong_gpu_summaries(gpu::Device& device, int64_t num_rows,
                                          int64_t vocab_size);

/// Errors: what the device says, and a shape that its kernels do not take.
Result<GpuSelftestResult> run_gpu_selftest(std::unique_ptr<gpu::Device> device,
                                           const GpuSelftestOptions& options);

}  // namespace tetrad
