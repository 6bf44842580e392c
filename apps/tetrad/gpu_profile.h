#pragma once

#include "base/json.h"
#include "gpu_limits.h"
#include "kernels/gpu/gpu_kernels.h"

namespace tetrad {

/// What a step's kernels took, of `steps` steps, each launch timed by itself: time, bytes and
/// operations, and what shares of the card's limits that makes.
json::object gpu_profile_to_json(const gpu::GpuKernels::Profile& profile, int steps,
                                 const GpuLimits& limits);

/// The same as a table.
void print_gpu_profile(const json::object& profile);

}  // namespace tetrad
