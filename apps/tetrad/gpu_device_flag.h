#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/error.h"
#include "kernels/gpu/gpu_kernels.h"

namespace tetrad {

/// --device of the verbs that are about a GPU: gpu, emulated-nvidia or emulated-gfx12.
CLI::Option* add_gpu_device_flag(CLI::App& verb, std::string& device);
/// `index`: which of the machine's GPUs.
Result<std::unique_ptr<gpu::Device>> open_gpu_device(const std::string& device, int index = 0);

/// --gpu-tuning FILE: choices other than those that the build has for the card.
void add_gpu_tuning_flag(CLI::App& verb, std::string& path);
/// With the choices of the file, or where `path` is empty the card's. A file for another card is
/// taken, with a warning in the log.
Result<gpu::GpuKernels> find_gpu_kernels(gpu::Device& device, const std::string& path);

}  // namespace tetrad
