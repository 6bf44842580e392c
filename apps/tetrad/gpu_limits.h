#pragma once

#include "base/error.h"
#include "kernels/gpu/gpu_kernels.h"

namespace tetrad {

/// What a card does at most: medians of five runs, timed on the card.
struct GpuLimits {
  double read_gb_per_s = 0;  // 4 GiB, or an eighth of what is free
  double f16_tflops = 0;     // multiply-adds of halves into floats, two operations each
};

Result<GpuLimits> measure_gpu_limits(gpu::GpuKernels& kernels);

/// TFLOP/s of halves that spread as weights do, the median of five times 60 ms of it: what is left
/// of GpuLimits::f16_tflops when the card has come to its power limit, as in a long prompt.
Result<double> measure_sustained_tflops(gpu::GpuKernels& kernels);

/// tetrad bench limits --device gpu
int run_bench_gpu_limits(bool json);

}  // namespace tetrad
