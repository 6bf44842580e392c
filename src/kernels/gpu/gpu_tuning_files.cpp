// The files of tuning/, carried by the program.

#include <array>

#include "kernels/gpu/embed_file.h"
#include "kernels/gpu/gpu_tuning.h"

TETRAD_EMBED_FILE(tuning_h200, TETRAD_GPU_TUNING "/nvidia-h200.json");
TETRAD_EMBED_FILE(tuning_h100, TETRAD_GPU_TUNING "/nvidia-h100.json");
TETRAD_EMBED_FILE(tuning_r9700, TETRAD_GPU_TUNING "/amd-radeon-ai-pro-r9700.json");

namespace tetrad::gpu {

std::span<const std::string_view> shipped_gpu_tunings() {
  static const std::array kFiles = {TETRAD_EMBEDDED(tuning_h200), TETRAD_EMBEDDED(tuning_h100),
                                    TETRAD_EMBEDDED(tuning_r9700)};
  return kFiles;
}

}  // namespace tetrad::gpu
