#include "kernels/gpu/gpu_code.h"

#include <cstddef>
#include <utility>

#include "kernels/gpu/embed_file.h"

#if defined(TETRAD_CUDA_PTX)
// Files that the build made of the kernels.
TETRAD_EMBED_FILE("cuda_ptx", TETRAD_CUDA_PTX);
extern "C" const char tetrad_cuda_ptx_begin[];
extern "C" const char tetrad_cuda_ptx_end[];
#endif
#if defined(TETRAD_HIP_GFX1200)
TETRAD_EMBED_FILE("gfx1200", TETRAD_HIP_GFX1200);
TETRAD_EMBED_FILE("gfx1201", TETRAD_HIP_GFX1201);
extern "C" const char tetrad_gfx1200_begin[];
extern "C" const char tetrad_gfx1200_end[];
extern "C" const char tetrad_gfx1201_begin[];
extern "C" const char tetrad_gfx1201_end[];
#endif

namespace tetrad::gpu {

std::string_view cuda_ptx() {
#if defined(TETRAD_CUDA_PTX)
  return {tetrad_cuda_ptx_begin, static_cast<size_t>(tetrad_cuda_ptx_end - tetrad_cuda_ptx_begin)};
#else
  return {};
#endif
}

std::span<const CodeObject> hip_code_objects() {
#if defined(TETRAD_HIP_GFX1200)
  static const CodeObject kObjects[] = {
      {"gfx1201",
       std::as_bytes(std::span(tetrad_gfx1201_begin,
                               static_cast<size_t>(tetrad_gfx1201_end - tetrad_gfx1201_begin)))},
      {"gfx1200",
       std::as_bytes(std::span(tetrad_gfx1200_begin,
                               static_cast<size_t>(tetrad_gfx1200_end - tetrad_gfx1200_begin)))}};
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
