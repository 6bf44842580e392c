#pragma once

// What the tests of the GPU's kernels share: the emulation with either machine's fragments, and
// random weights.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "checkpoint/weight.h"
#include "gpu/emulated_device.h"
#include "gpu/sized_device_for_tests.h"
#include "kernels/gpu/decode_product.h"
#include "kernels/gpu/emulated_kernels.h"
#include "kernels/gpu/gpu_kernels.h"

namespace tetrad::gpu::testing_gpu {

struct EmulationKind {
  std::string_view name;
  bool is_gfx12 = false;
  bool has_warpgroups = true;
};
inline constexpr EmulationKind kEmulations[] = {{"nvidia", false}, {"gfx12", true}};
/// For launches that are other kernels on NVIDIA's cards without warpgroups.
inline constexpr EmulationKind kAllEmulations[] = {
    {"nvidia", false}, {"nvidia_without_warpgroups", false, false}, {"gfx12", true}};

/// An emulated GPU whose errors are the test's failures.
class Emulation {
 public:
  explicit Emulation(const EmulationKind& kind, ThreadOrder order = ThreadOrder::ascending,
                     int64_t num_multiprocessors = 2)
      : is_gfx12_(kind.is_gfx12),
        device_(std::make_unique<SizedDevice>(
            open_emulated_device(
                kind.name,
                is_gfx12_ ? emulated_gfx12_kernels() : emulated_nvidia_kernels(kind.has_warpgroups),
                order),
            num_multiprocessors)),
        kernels_(GpuKernels::create(*device_).value()) {}

  /// Launches; check() afterwards.
  GpuKernels& kernels() { return kernels_; }
  void check() {
    const Result<void> status = kernels_.status();
    ASSERT_TRUE(status) << status.error().message;
  }

  Device& device() { return *device_; }
  /// Of the launches so far, in their order.
  const std::vector<std::string>& launched() const { return device_->launched; }
  bool is_gfx12() const { return is_gfx12_; }

  DeviceAddress allocate(uint64_t bytes) {
    return device_->allocate(static_cast<int64_t>(bytes)).value();
  }
  template <class T>
  T* copy(const std::vector<T>& values) {
    const DeviceAddress to = allocate(values.size() * sizeof(T));
    EXPECT_TRUE(device_->copy_to_device(to, values.data(),
                                        static_cast<int64_t>(values.size() * sizeof(T))));
    return reinterpret_cast<T*>(to);
  }
  template <class T>
  T* zeros(uint64_t count) {
    return copy(std::vector<T>(count));
  }
  template <class T>
  std::vector<T> read(const T* from, uint64_t count) {
    std::vector<T> values(count);
    EXPECT_TRUE(device_->copy_to_host(values.data(), reinterpret_cast<DeviceAddress>(from),
                                      static_cast<int64_t>(count * sizeof(T))));
    return values;
  }
  template <class Args>
  void launch(std::string_view name, const LaunchShape& shape, const Args& args) {
    const Result<Kernel> kernel = device_->kernel(name);
    ASSERT_TRUE(kernel) << kernel.error().message;
    const Result<void> launched = device_->launch(*kernel, shape, &args, sizeof args);
    ASSERT_TRUE(launched) << launched.error().message;
  }

  /// Rows of floats as rows of halves in activation_offset order.
  std::vector<uint16_t> activations(const std::vector<float>& x, uint32_t rows,
                                    uint32_t cols) const {
    const uint32_t stride = tiles_for(cols, kTileColumns) * kTileColumns;
    std::vector<uint16_t> halves(static_cast<size_t>(rows) * stride);
    for (uint32_t row = 0; row < rows; ++row) {
      for (uint32_t k = 0; k < cols; ++k) {
        const uint32_t at =
            is_gfx12_ ? activation_offset<Gfx12Fragment>(k) : activation_offset<NvidiaFragment>(k);
        halves[row * stride + at] = float_to_f16(x[row * cols + k]);
      }
    }
    return halves;
  }

 private:
  bool is_gfx12_;
  std::unique_ptr<SizedDevice> device_;
  GpuKernels kernels_;
};

inline std::vector<float> random_floats(size_t count, float scale, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

/// An mxfp4_16 matrix as it lies in a checkpoint.
struct RandomCodes {
  RandomCodes(uint32_t num_rows, uint32_t num_cols, uint32_t seed)
      : rows(num_rows), cols(num_cols), codes(rows * cols / 2), scales(rows * cols / 16) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> scale(-0.002f, 0.004f);
    std::generate(codes.begin(), codes.end(), [&] { return static_cast<uint8_t>(random()); });
    std::generate(scales.begin(), scales.end(), [&] { return float_to_f16(scale(random)); });
  }
  double weight(uint32_t row, uint32_t col) const {
    const uint32_t code = codes[(row * cols + col) / 2] >> 4 * (col % 2) & 15u;
    return static_cast<double>(kIq4NlCodebook[code]) *
           f16_to_float(scales[(row * cols + col) / 16]);
  }
  uint32_t rows;
  uint32_t cols;
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales;
};

/// Its tiles at `to`, which has packed_bytes().
inline void pack(Emulation& gpu, const RandomCodes& random, DeviceAddress to) {
  gpu.kernels().pack_codes({.codes = gpu.copy(random.codes),
                            .scales = gpu.copy(random.scales),
                            .tiles = reinterpret_cast<char*>(to),
                            .rows = random.rows,
                            .cols = random.cols});
}

/// The matrices of so many experts, one after the other: `of_expert` makes each.
template <class OfExpert>
PackedMatrix pack_experts(Emulation& gpu, uint32_t num_experts, const OfExpert& of_expert) {
  const RandomCodes first = of_expert(0);
  const uint64_t bytes = packed_bytes(TileFormat::codes, first.rows, first.cols);
  const DeviceAddress all = gpu.allocate(bytes * num_experts);
  for (uint32_t e = 0; e < num_experts; ++e)
    pack(gpu, of_expert(e), all + e * bytes);
  return {.tiles = reinterpret_cast<const char*>(all),
          .rows = first.rows,
          .cols = first.cols,
          .scale = 2};
}

/// Equal NaNs are equal, and zeros of two signs are not.
inline std::vector<uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::ranges::transform(values, bits.begin(), [](float x) { return std::bit_cast<uint32_t>(x); });
  return bits;
}

/// weight * x / sqrt(mean(x^2) + 1e-6) of row t.
inline std::vector<double> normed(const std::vector<float>& x, const std::vector<float>& weight,
                                  uint32_t t, uint32_t cols) {
  double squares = 0;
  for (uint32_t k = 0; k < cols; ++k)
    squares += static_cast<double>(x[t * cols + k]) * x[t * cols + k];
  std::vector<double> out(cols);
  for (uint32_t k = 0; k < cols; ++k)
    out[k] = x[t * cols + k] / std::sqrt(squares / cols + 1e-6) * weight[k];
  return out;
}

}  // namespace tetrad::gpu::testing_gpu
