#pragma once

#include <cstdint>

#include "base/error.h"
#include "checkpoint/config.h"
#include "gpu/device.h"

namespace tetrad {

/// Bytes of the weights of make_random_gpu_weights on the device.
struct GpuWeightBytes {
  int64_t layer = 0;  // of one
  int64_t rest = 0;   // embeddings and head

  int64_t total(int64_t num_layers) const { return num_layers * layer + rest; }
};
GpuWeightBytes gpu_weight_bytes(const ModelConfig& config);

/// Errors: resource_exhausted where they are more than the device has free, with how many layers
/// would fit.
Result<void> check_gpu_weights_fit(const ModelConfig& config, const gpu::DeviceInfo& info);

}  // namespace tetrad
