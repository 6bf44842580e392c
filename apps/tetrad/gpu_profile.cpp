#include "gpu_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace tetrad {
namespace {

/// Below this the times around a launch say nothing of it.
constexpr double kLeastSeconds = 0.3e-6;

/// all_net: seconds of all its launches, without the timing's.
json::object kernel_to_json(const gpu::GpuKernels::Profiled& kernel, double all_net, int steps,
                            const GpuLimits& limits) {
  const auto launches = static_cast<double>(kernel.launches);
  const double net = all_net / launches;
  json::object object;
  object["kernel"] = kernel.kernel;
  object["launches_per_step"] = launches / steps;
  object["us"] = kernel.seconds / launches * 1e6;
  object["net_us"] = net * 1e6;
  object["bytes"] = kernel.cost.bytes;
  object["operations"] = kernel.cost.operations;
  if (net < kLeastSeconds) return object;
  const double gb_per_second = kernel.cost.bytes / net / 1e9;
  const double tflops = kernel.cost.operations / net / 1e12;
  object["gb_per_second"] = gb_per_second;
  object["share_of_reading"] = gb_per_second / limits.read_gb_per_s;
  object["tflops"] = tflops;
  object["share_of_f16"] = tflops / limits.f16_tflops;
  return object;
}

/// "" where the kernel has no such figure.
std::string cell(const json::object& kernel, std::string_view key, double factor, int digits,
                 std::string_view unit = "") {
  const json::value* value = kernel.if_contains(key);
  if (value == nullptr || value->as_double() == 0) return "";
  return fmt::format("{:.{}f}{}", value->as_double() * factor, digits, unit);
}

}  // namespace

json::object gpu_profile_to_json(const gpu::GpuKernels::Profile& profile, int steps,
                                 const GpuLimits& limits) {
  const auto net_seconds = [&](const gpu::GpuKernels::Profiled& kernel) {
    return std::max(
        kernel.seconds - static_cast<double>(kernel.launches) * profile.empty_launch_seconds, 0.0);
  };
  double all = 0;
  for (const auto& kernel : profile.kernels)
    all += net_seconds(kernel);
  json::array kernels;
  for (const auto& kernel : profile.kernels) {
    const double net = net_seconds(kernel);
    json::object object = kernel_to_json(kernel, net, steps, limits);
    object["share_of_time"] = all > 0 ? net / all : 0;
    kernels.push_back(std::move(object));
  }
  json::object object;
  object["empty_launch_us"] = profile.empty_launch_seconds * 1e6;
  object["net_us_per_step"] = all / steps * 1e6;
  object["kernels"] = std::move(kernels);
  return object;
}

void print_gpu_profile(const json::object& profile) {
  fmt::print(
      "    Each launch timed by itself. An empty one takes {:.2f} us that way; \"net\" is without "
      "it, and\n    so are the rates and shares: {:.0f} us a step in all. Figures are one "
      "launch's.\n",
      profile.at("empty_launch_us").as_double(), profile.at("net_us_per_step").as_double());
  fmt::print("    {:<30} {:>8} {:>9} {:>9} {:>7} {:>9} {:>7} {:>7} {:>8} {:>7} {:>7}\n", "kernel",
             "launches", "us", "net us", "time", "MB", "GB/s", "of read", "Gop", "TFLOP/s",
             "of f16");
  for (const json::value& value : profile.at("kernels").as_array()) {
    const json::object& kernel = value.as_object();
    const auto of = [&](std::string_view key, double factor, int digits,
                        std::string_view unit = "") {
      return cell(kernel, key, factor, digits, unit);
    };
    fmt::print("    {:<30} {:>8} {:>9} {:>9} {:>7} {:>9} {:>7} {:>7} {:>8} {:>7} {:>7}\n",
               std::string_view(kernel.at("kernel").as_string()), of("launches_per_step", 1, 0),
               of("us", 1, 2), of("net_us", 1, 2), of("share_of_time", 100, 1, " %"),
               of("bytes", 1e-6, 3), of("gb_per_second", 1, 0),
               of("share_of_reading", 100, 0, " %"), of("operations", 1e-9, 3), of("tflops", 1, 1),
               of("share_of_f16", 100, 1, " %"));
  }
  std::fflush(stdout);
}

}  // namespace tetrad
