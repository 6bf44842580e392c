#pragma once

#include <span>

#include "gpu/emulated_device.h"

namespace tetrad::gpu {

/// The GPU's kernels compiled for the CPU, with NVIDIA's fragments and with those of gfx12.
std::span<const EmulatedKernel> emulated_nvidia_kernels();
std::span<const EmulatedKernel> emulated_gfx12_kernels();

}  // namespace tetrad::gpu
