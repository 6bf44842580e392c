#include "kernels/gpu/gpu_code.h"

#include <utility>

#include "kernels/gpu/embed_file.h"

// Files that the build made of the kernels.
#if defined(TETRAD_CUDA_SM_90)
TETRAD_EMBED_FILE(sm_90, TETRAD_CUDA_SM_90);
TETRAD_EMBED_FILE(sm_90a, TETRAD_CUDA_SM_90A);
#endif
#if defined(TETRAD_HIP_GFX1200)
TETRAD_EMBED_FILE(gfx1200, TETRAD_HIP_GFX1200);
TETRAD_EMBED_FILE(gfx1201, TETRAD_HIP_GFX1201);
#endif

namespace tetrad::gpu {

std::span<const std::string_view> cuda_ptx() {
#if defined(TETRAD_CUDA_SM_90)
  static const std::string_view kTexts[] = {TETRAD_EMBEDDED(sm_90a), TETRAD_EMBEDDED(sm_90)};
  return kTexts;
#else
  return {};
#endif
}

std::span<const CodeObject> hip_code_objects() {
#if defined(TETRAD_HIP_GFX1200)
  static const CodeObject kObjects[] = {
      {"gfx1201", std::as_bytes(std::span(TETRAD_EMBEDDED(gfx1201)))},
      {"gfx1200", std::as_bytes(std::span(TETRAD_EMBEDDED(gfx1200)))}};
  return kObjects;
#else
  return {};
#endif
}

Result<std::unique_ptr<Device>> open_gpu(int index) {
  if (cuda_ptx().empty() && hip_code_objects().empty()) {
    return fail(
        ErrorCode::unsupported,
        "this build has no code for GPUs; configure it with --preset cuda, hip or gpu (they "
        "need clang-19), or use --device cpu");
  }
  if (cuda_ptx().empty()) return open_hip_device(hip_code_objects(), index);
  auto cuda = open_cuda_device(cuda_ptx(), index);
  if (cuda || hip_code_objects().empty()) return cuda;
  auto hip = open_hip_device(hip_code_objects(), index);
  if (hip) return hip;
  return fail(cuda.error().code, "{}; and {}", cuda.error().message, hip.error().message);
}

}  // namespace tetrad::gpu
