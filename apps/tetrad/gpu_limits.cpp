#include "gpu_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>

#include "cli_io.h"
#include "kernels/gpu/gpu_code.h"
#include "quant/pretty_json.h"

namespace tetrad {
namespace {

/// Seconds of one of `count` launches in a row, the median of five times.
Result<double> median_seconds(gpu::GpuKernels& kernels, int count,
                              const std::function<void()>& launch) {
  gpu::Device& device = kernels.device();
  launch();
  std::array<double, 5> seconds{};
  for (double& each : seconds) {
    device.forget_times();
    TETRAD_ASSIGN(const int begin, device.record_time());
    for (int i = 0; i < count; ++i)
      launch();
    TETRAD_ASSIGN(const int end, device.record_time());
    TETRAD_TRY(kernels.status());
    TETRAD_TRY(device.synchronize());
    TETRAD_ASSIGN(each, device.seconds_between(begin, end));
  }
  std::ranges::sort(seconds);
  return seconds[2] / count;
}

bool is_emulated(const gpu::DeviceInfo& info) {
  return info.architecture == "emulated";
}

/// multiply_add_peak: twice as many blocks as multiprocessors, of 8 warps.
struct Multiplying {
  gpu::GpuKernels& kernels;
  uint32_t rounds;
  uint32_t blocks;

  Multiplying(gpu::GpuKernels& of, const gpu::DeviceInfo& info)
      : kernels(of),
        rounds(is_emulated(info) ? gpu::kProductSteps : 8000),
        blocks(static_cast<uint32_t>(2 * info.num_multiprocessors)) {}

  void launch(bool numbers_vary, gpu::DeviceAddress out) const {
    kernels.multiply_add_peak({.rounds = rounds,
                               .numbers_vary = numbers_vary ? 1u : 0u,
                               .out = reinterpret_cast<float*>(out)},
                              blocks);
  }
  double tflops(double seconds) const {
    return 2.0 * 16 * 16 * kernels.fragment_tokens() * gpu::kProductChains * rounds * 8 * blocks /
           seconds / 1e12;
  }
};

}  // namespace

Result<GpuLimits> measure_gpu_limits(gpu::GpuKernels& kernels) {
  gpu::Device& device = kernels.device();
  TETRAD_ASSIGN(const gpu::DeviceInfo info, device.info());
  GpuLimits limits;
  const int64_t bytes =
      is_emulated(info) ? 1 << 20 : std::min(int64_t{4} << 30, info.free_bytes / 8) >> 24 << 24;
  TETRAD_ASSIGN(const gpu::DeviceAddress memory, device.allocate(bytes));
  TETRAD_TRY(device.fill(memory, 0x5A, bytes));
  const auto reading = median_seconds(kernels, 3, [&] {
    kernels.read_all({.from = reinterpret_cast<const char*>(memory),
                      .bytes = static_cast<uint64_t>(bytes),
                      .out = reinterpret_cast<uint32_t*>(memory)});
  });
  const Multiplying multiplying(kernels, info);
  const auto seconds = median_seconds(kernels, 2, [&] { multiplying.launch(false, memory); });
  device.free(memory);
  if (!reading) return tl::unexpected(reading.error());
  if (!seconds) return tl::unexpected(seconds.error());
  limits.read_gb_per_s = static_cast<double>(bytes) / *reading / 1e9;
  limits.f16_tflops = multiplying.tflops(*seconds);
  return limits;
}

Result<double> measure_sustained_tflops(gpu::GpuKernels& kernels) {
  gpu::Device& device = kernels.device();
  TETRAD_ASSIGN(const gpu::DeviceInfo info, device.info());
  TETRAD_ASSIGN(const gpu::DeviceAddress out, device.allocate(sizeof(float)));
  const Multiplying multiplying(kernels, info);
  // Some 0.6 ms each.
  const int count = is_emulated(info) ? 1 : 100;
  const auto seconds = median_seconds(kernels, count, [&] { multiplying.launch(true, out); });
  device.free(out);
  if (!seconds) return tl::unexpected(seconds.error());
  return multiplying.tflops(*seconds);
}

int run_bench_gpu_limits(bool json) {
  auto device = gpu::open_gpu();
  if (!device) return report(device.error());
  auto kernels = gpu::GpuKernels::create(**device);
  if (!kernels) return report(kernels.error());
  const auto limits = measure_gpu_limits(*kernels);
  if (!limits) return report(limits.error());
  const auto sustained_tflops = measure_sustained_tflops(*kernels);
  if (!sustained_tflops) return report(sustained_tflops.error());
  const auto info = (*device)->info();
  if (!info) return report(info.error());
  if (json) {
    json::object object;
    object["device"] = info->name;
    object["driver"] = info->driver;
    object["read_gb_per_s"] = limits->read_gb_per_s;
    object["f16_tflops"] = limits->f16_tflops;
    object["sustained_f16_tflops"] = *sustained_tflops;
    fmt::print("{}", to_pretty_json(object));
    return kExitOk;
  }
  fmt::print("{} ({}, {}), {} multiprocessors\n\n", info->name, info->architecture, info->driver,
             info->num_multiprocessors);
  fmt::print("reading memory   {:8.0f} GB/s\n", limits->read_gb_per_s);
  fmt::print("f16 multiply-add {:8.0f} TFLOP/s\n", limits->f16_tflops);
  fmt::print("  for as long as a prompt takes, of numbers that vary {:.0f}\n", *sustained_tflops);
  return kExitOk;
}

}  // namespace tetrad
