#pragma once

// The few declarations of the CUDA driver API that stand in no table of functions, from its public
// documentation: numbers and layouts, which are fixed for as long as libcuda.so.1 is called that.

#include <cstddef>
#include <cstdint>

namespace tetrad::gpu::cuda {

constexpr int kErrorUnsupportedPtxVersion = 222;

constexpr int kAttributeMultiprocessorCount = 16;
constexpr int kAttributeL2CacheSize = 38;
constexpr int kAttributeComputeCapabilityMajor = 75;
constexpr int kAttributeComputeCapabilityMinor = 76;
constexpr int kAttributeMaxSharedMemoryPerBlockOptin = 97;

constexpr int kFunctionSharedSizeBytes = 1;  // what the kernel declares
constexpr int kFunctionMaxDynamicSharedSizeBytes = 8;

constexpr int kJitErrorLogBuffer = 5;
constexpr int kJitErrorLogBufferSizeBytes = 6;

constexpr uint32_t kLaunchProgrammaticStreamSerialization = 6;

struct LaunchAttribute {
  uint32_t id;
  uint32_t padding;
  int32_t value;  // of a union of 64 bytes
  int32_t rest[15];
};
static_assert(sizeof(LaunchAttribute) == 72 && offsetof(LaunchAttribute, value) == 8);

struct LaunchConfig {
  uint32_t grid_x, grid_y, grid_z;
  uint32_t block_x, block_y, block_z;
  uint32_t shared_bytes;
  void* stream;
  const LaunchAttribute* attributes;
  uint32_t num_attributes;
};
static_assert(sizeof(LaunchConfig) == 56 && offsetof(LaunchConfig, stream) == 32 &&
              offsetof(LaunchConfig, attributes) == 40 &&
              offsetof(LaunchConfig, num_attributes) == 48);

}  // namespace tetrad::gpu::cuda
