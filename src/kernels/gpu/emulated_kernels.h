#pragma once

#include <span>

#include "gpu/emulated_device.h"

namespace tetrad::gpu {

/// The GPU's kernels compiled for the CPU, with NVIDIA's fragments and with those of gfx12.
/// `has_warpgroups`: as an H100 or H200 has them; without, those kernels are missing that only they
/// have. GEMMs of halves multiply by multiply_staged() all the same.
std::span<const EmulatedKernel> emulated_nvidia_kernels(bool has_warpgroups = true);
std::span<const EmulatedKernel> emulated_gfx12_kernels();

}  // namespace tetrad::gpu
