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

/// TFLOP/s of halves that spread as weights do, the median of five times 60 ms of it: less than
/// GpuLimits::f16_tflops, since such numbers take more power and the card comes to its limit.
Result<double> measure_sustained_tflops(gpu::GpuKernels& kernels);

/// tetrad bench limits --device gpu
int run_bench_gpu_limits(bool json);

}  // namespace tetrad
