#pragma once

#include <span>
#include <string_view>

#include "gpu/device.h"
#include "gpu/emulated_threads.h"

namespace tetrad::gpu {

/// A kernel compiled for the CPU (TETRAD_EMULATED_KERNEL).
struct EmulatedKernel {
  std::string_view name;
  EmulatedBlock::Kernel run = nullptr;
};
#define TETRAD_EMULATED_KERNEL(name, Args) \
  ::tetrad::gpu::EmulatedKernel{           \
      #name, [](const void* arguments) { name(*static_cast<const Args*>(arguments)); }},

/// Runs kernels on the CPU, each block in the order given. Launches are done at once and errors of
/// a kernel (threads that do not meet) are its result. Memory that was never written holds NaNs,
/// and what lies outside an allocation is not the device's: the address sanitizer sees it. The
/// kernels must outlive the device.
std::unique_ptr<Device> open_emulated_device(std::string_view name,
                                             std::span<const EmulatedKernel> kernels,
                                             ThreadOrder order = ThreadOrder::ascending);

}  // namespace tetrad::gpu
