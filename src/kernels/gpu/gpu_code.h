#pragma once

// The GPU's kernels as this build has them, and the GPU that they run on.

#include <memory>
#include <span>
#include <string_view>

#include "base/error.h"
#include "gpu/device.h"

namespace tetrad::gpu {

/// PTX for NVIDIA GPUs from sm_90 on, and for sm_90 with what it alone has; none in a build without
/// -DTETRAD_CUDA=ON.
std::span<const std::string_view> cuda_ptx();
/// Code objects for AMD GPUs; none in a build without -DTETRAD_HIP=ON.
std::span<const CodeObject> hip_code_objects();

/// GPU number `index` of those of the first vendor that this build has code for and the machine a
/// driver of. Errors: unsupported when it has none for any, and
/// what open_cuda_device and open_hip_device say.
Result<std::unique_ptr<Device>> open_gpu(int index = 0);

}  // namespace tetrad::gpu
