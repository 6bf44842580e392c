#pragma once

// For tests only: ranks that are threads, each with an emulated GPU of its own.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "collectives/device_communicator.h"
#include "gpu/emulated_device.h"
#include "gpu/forwarding_device_for_tests.h"
#include "kernels/gpu/emulated_kernels.h"
#include "parallel/in_process.h"

namespace tetrad::collectives::testing_ranks {

/// Puts something between a rank and its device.
using Wrap = std::function<std::unique_ptr<gpu::Device>(std::unique_ptr<gpu::Device>, int rank)>;

struct Group {
  int size = 2;
  bool is_gfx12 = false;
  gpu::ThreadOrder order = gpu::ThreadOrder::ascending;
  Wrap wrap = nullptr;
};

/// What a rank has.
struct Rank {
  gpu::Device& device;
  gpu::GpuKernels& kernels;
  parallel::Communicator& ranks;

  DeviceAddress copy(const std::vector<float>& values) const {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(float));
    const DeviceAddress to = device.allocate(bytes).value();
    EXPECT_TRUE(device.copy_to_device(to, values.data(), bytes));
    return to;
  }
  std::vector<float> read(DeviceAddress from, size_t count) const {
    std::vector<float> values(count);
    EXPECT_TRUE(device.copy_to_host(values.data(), from, static_cast<int64_t>(count * 4)));
    EXPECT_TRUE(device.synchronize());
    return values;
  }
};

inline void on_gpu_ranks(const Group& group, const std::function<void(const Rank&)>& body) {
  auto ends = parallel::make_in_process_ranks(group.size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < group.size; ++rank) {
    threads.emplace_back([&, rank] {
      auto device = gpu::open_emulated_device(
          group.is_gfx12 ? "gfx12" : "nvidia",
          group.is_gfx12 ? gpu::emulated_gfx12_kernels() : gpu::emulated_nvidia_kernels(),
          group.order);
      if (group.wrap) device = group.wrap(std::move(device), rank);
      auto kernels = gpu::GpuKernels::create(*device).value();
      const auto end = std::move(ends[static_cast<size_t>(rank)]);
      body({*device, kernels, *end});
    });
  }
  for (std::thread& thread : threads)
    thread.join();
}

/// What a rank brings: of very different sizes, so that the order of addition shows.
inline std::vector<float> values_of(int rank, size_t count, uint32_t seed) {
  std::mt19937 random(seed * 64 + static_cast<uint32_t>(rank));
  std::vector<float> values(count);
  for (float& value : values)
    value = std::ldexp(static_cast<float>(random()) - 2e9f, static_cast<int>(random() % 40));
  return values;
}
inline std::vector<float> sum_in_rank_order(int size, size_t count, uint32_t seed) {
  std::vector<float> sum = values_of(0, count, seed);
  for (int rank = 1; rank < size; ++rank) {
    const std::vector<float> part = values_of(rank, count, seed);
    for (size_t i = 0; i < count; ++i)
      sum[i] += part[i];
  }
  return sum;
}

}  // namespace tetrad::collectives::testing_ranks
