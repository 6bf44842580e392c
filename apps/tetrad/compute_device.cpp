#include "compute_device.h"

namespace tetrad {

void add_device_flag(CLI::App& verb, std::string& device) {
  verb.add_option(
          "--device", device,
          "what computes: cpu (or auto), gpu (NVIDIA from Hopper on, AMD RDNA4), or a GPU's "
          "kernels emulated on the CPU, which is slow: emulated-nvidia, emulated-gfx12")
      ->check(CLI::IsMember({"cpu", "auto", "gpu", "emulated-nvidia", "emulated-gfx12"}))
      ->capture_default_str();
}

bool is_gpu(const std::string& device) {
  return device != "cpu" && device != "auto";
}

}  // namespace tetrad
