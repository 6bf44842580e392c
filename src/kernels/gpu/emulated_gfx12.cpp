#define TETRAD_EMULATE_GFX12
#include "kernels/gpu/emulated_kernels.h"
#include "kernels/gpu/kernel_list.h"

namespace tetrad::gpu {

std::span<const EmulatedKernel> emulated_gfx12_kernels() {
  using namespace gfx12;
  static constexpr EmulatedKernel kKernels[] = {TETRAD_GPU_KERNELS(TETRAD_EMULATED_KERNEL)
                                                    TETRAD_OTHERS_KERNELS(TETRAD_EMULATED_KERNEL)};
  return kKernels;
}

}  // namespace tetrad::gpu
