// The files of tuning/, carried by the program.

#include <array>
#include <cstddef>

#include "kernels/gpu/embed_file.h"
#include "kernels/gpu/gpu_tuning.h"

TETRAD_EMBED_FILE("tuning_h200", TETRAD_GPU_TUNING "/nvidia-h200.json");
TETRAD_EMBED_FILE("tuning_h100", TETRAD_GPU_TUNING "/nvidia-h100.json");
TETRAD_EMBED_FILE("tuning_r9700", TETRAD_GPU_TUNING "/amd-radeon-ai-pro-r9700.json");
extern "C" const char tetrad_tuning_h200_begin[];
extern "C" const char tetrad_tuning_h200_end[];
extern "C" const char tetrad_tuning_h100_begin[];
extern "C" const char tetrad_tuning_h100_end[];
extern "C" const char tetrad_tuning_r9700_begin[];
extern "C" const char tetrad_tuning_r9700_end[];

namespace tetrad::gpu {

std::span<const std::string_view> shipped_gpu_tunings() {
  const auto text = [](const char* begin, const char* end) {
    return std::string_view(begin, static_cast<size_t>(end - begin));
  };
  static const std::array kFiles = {text(tetrad_tuning_h200_begin, tetrad_tuning_h200_end),
                                    text(tetrad_tuning_h100_begin, tetrad_tuning_h100_end),
                                    text(tetrad_tuning_r9700_begin, tetrad_tuning_r9700_end)};
  return kFiles;
}

}  // namespace tetrad::gpu
