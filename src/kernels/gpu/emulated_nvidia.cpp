#include "kernels/gpu/emulated_kernels.h"
#include "kernels/gpu/kernel_list.h"

namespace tetrad::gpu {

std::span<const EmulatedKernel> emulated_nvidia_kernels(bool has_warpgroups) {
  using namespace nvidia;
  static constexpr EmulatedKernel kKernels[] = {
      TETRAD_GPU_KERNELS(TETRAD_EMULATED_KERNEL) TETRAD_NVIDIA_KERNELS(TETRAD_EMULATED_KERNEL)
          TETRAD_OTHERS_KERNELS(TETRAD_EMULATED_KERNEL)
              TETRAD_WARPGROUP_KERNELS(TETRAD_EMULATED_KERNEL)};
  static constexpr EmulatedKernel kOfWarpgroups[] = {
      TETRAD_WARPGROUP_KERNELS(TETRAD_EMULATED_KERNEL)};
  const auto all = std::span(kKernels);
  return has_warpgroups ? all : all.first(all.size() - std::size(kOfWarpgroups));
}

}  // namespace tetrad::gpu
