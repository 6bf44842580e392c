#pragma once

#include <cstdint>

#include "base/error.h"
#include "checkpoint/config.h"
#include "gpu/device.h"
#include "plan/rank_share.h"

namespace tetrad {

/// Bytes of the weights of make_random_gpu_weights on the device, of one rank's share.
struct GpuWeightBytes {
  // Of one layer.
  int64_t projections = 0;  // q, k, v and o
  int64_t router = 0;
  int64_t expert = 0;       // w1, w2 and w3 of one
  int64_t num_experts = 0;  // that are here

  int64_t embeddings = 0;
  int64_t head = 0;
  int64_t num_layers = 0;

  int64_t layer() const { return projections + router + num_experts * expert; }
  int64_t total() const { return num_layers * layer() + embeddings + head; }
  /// What a step reads that goes to so many experts of each layer, on average, and has logits or
  /// none. The few rows of the embeddings are not counted.
  double read_by_step(double experts, bool has_logits) const;
};
GpuWeightBytes gpu_weight_bytes(const ModelConfig& config, const plan::RankShare& share);
/// Of all of them.
inline GpuWeightBytes gpu_weight_bytes(const ModelConfig& config) {
  return gpu_weight_bytes(config, plan::rank_share(config, {}, 0));
}

/// Errors: resource_exhausted where they are more than the device has free, with how many layers
/// would fit.
Result<void> check_gpu_weights_fit(const ModelConfig& config, const plan::RankShare& share,
                                   const gpu::DeviceInfo& info);

}  // namespace tetrad
