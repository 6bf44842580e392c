#include "gpu_device_flag.h"

#include "base/log.h"
#include "cli_io.h"
#include "gpu/emulated_device.h"
#include "kernels/gpu/emulated_kernels.h"
#include "kernels/gpu/gpu_code.h"
#include "kernels/gpu/gpu_tuning.h"

namespace tetrad {

CLI::Option* add_gpu_device_flag(CLI::App& verb, std::string& device) {
  return verb
      .add_option("--device", device,
                  "gpu, or the emulation on the CPU: emulated-nvidia, emulated-gfx12")
      ->check(CLI::IsMember({"gpu", "emulated-nvidia", "emulated-gfx12"}))
      ->capture_default_str();
}

Result<std::unique_ptr<gpu::Device>> open_gpu_device(const std::string& device, int index) {
  if (device == "emulated-nvidia")
    return gpu::open_emulated_device("nvidia", gpu::emulated_nvidia_kernels());
  if (device == "emulated-gfx12")
    return gpu::open_emulated_device("gfx12", gpu::emulated_gfx12_kernels());
  return gpu::open_gpu(index);
}

void add_gpu_tuning_flag(CLI::App& verb, std::string& path) {
  verb.add_option("--gpu-tuning", path,
                  "choices of sizes from tetrad tune, instead of those that come with tetrad")
      ->option_text("FILE");
}

Result<gpu::GpuKernels> find_gpu_kernels(gpu::Device& device, const std::string& path) {
  if (path.empty()) return gpu::GpuKernels::create(device);
  const auto file = gpu::read_gpu_tuning(path);
  if (!file) return tl::unexpected(at_flag(file.error(), "--gpu-tuning"));
  TETRAD_ASSIGN(const gpu::DeviceInfo info, device.info());
  if (!info.name.starts_with(file->card))
    log::warn("--gpu-tuning {}: made for {}, and this is {}", path, file->card, info.name);
  if (!file->tested) log::warn("--gpu-tuning {}: not measured on a card", path);
  return gpu::GpuKernels::create(device, file->choices);
}

}  // namespace tetrad
