#pragma once

// --device of the verbs that compute a model: the CPU, or a GPU (gpu_device_flag.h).

#include <CLI/CLI.hpp>
#include <string>

namespace tetrad {

void add_device_flag(CLI::App& verb, std::string& device);

/// Whether a word after --device names a GPU, emulated or not.
bool is_gpu(const std::string& device);

}  // namespace tetrad
