#include "kernels/gpu/emulated_kernels.h"
#include "kernels/gpu/kernel_list.h"

namespace tetrad::gpu {

std::span<const EmulatedKernel> emulated_nvidia_kernels() {
  using namespace nvidia;
  static constexpr EmulatedKernel kKernels[] = {TETRAD_GPU_KERNELS(TETRAD_EMULATED_KERNEL)
                                                    TETRAD_NVIDIA_KERNELS(TETRAD_EMULATED_KERNEL)};
  return kKernels;
}

}  // namespace tetrad::gpu
