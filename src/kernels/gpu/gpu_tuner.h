#pragma once

// The search for a card's GpuTuning: one choice after the other, each value against the one so far
// in turns, on the steps that it changes.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "kernels/gpu/gpu_tuning.h"

namespace tetrad::gpu {

/// One token for each of num_tokens sequences, or num_tokens of one.
struct TuningStep {
  uint32_t num_tokens = 1;
  bool is_prefill = false;
  std::string name() const;  // "decode 8"
};

/// Seconds that a step takes with some choices.
using TimeTunedStep = std::function<Result<double>(const GpuTuning&, const TuningStep&)>;

/// One value of a choice, over the steps that it changes.
struct TuningTrial {
  std::string_view choice;
  uint32_t value = 0;
  double time_ratio = 1;  // to that of the value so far: the geometric mean
  size_t num_steps = 0;
  bool is_taken = false;
};

struct TunerOptions {
  std::vector<TuningStep> steps;
  uint32_t num_experts = 256;
  uint32_t num_experts_per_tok = 8;
  uint32_t fragment_tokens = 8;  // GpuKernels::fragment_tokens()
  /// Of one token, and of so many and more, the experts have kernels without sizes to choose
  /// (experts_of_one.h, experts_stream.h). ~0: the machine has none of these.
  uint32_t least_streamed_tokens = ~0u;
  /// Times that each value's turn comes; the median counts.
  int rounds = 7;
  /// Told of each trial once its choice is made.
  std::function<void(const TuningTrial&)> tell;
};

/// What a value must gain to be taken.
inline constexpr double kTuningGain = 0.03;

/// How often each of options.steps is going to be timed, at most.
std::vector<int64_t> count_tuning_times(const TunerOptions& options);

/// Goes out from the values that a GpuTuning has of itself. `choices` and `steps` of the result are
/// set. Errors: those of `time`.
Result<GpuTuningFile> find_gpu_tuning(const TunerOptions& options, const TimeTunedStep& time);

}  // namespace tetrad::gpu
