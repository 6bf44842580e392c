#pragma once

// What lies in the memory of one GPU, in bytes.

#include <array>
#include <cstdint>

#include "base/dtype.h"
#include "plan/sharding.h"

namespace tetrad::plan {

/// Tokens a KV block holds (kKvBlockSize of the engine).
inline constexpr int64_t kBlockTokens = 16;

/// The largest step the engine is allowed.
struct StepLimits {
  int64_t max_num_seqs = 48;
  int64_t max_num_batched_tokens = 2048;
};

struct WeightMemory {
  std::array<int64_t, kNumMemoryKinds> by_kind{};  // by MemoryKind

  int64_t of(MemoryKind kind) const { return by_kind[static_cast<size_t>(kind)]; }
  int64_t total() const;
};

/// Of the rank that holds most.
WeightMemory weight_memory(const PlannedModel& model, Layout layout);

/// Keys and values of one token in all layers, on one rank. dtype: F32, BF16 or F8_E4M3.
int64_t kv_token_bytes(const ModelConfig& config, Layout layout, DType dtype);

/// An estimate of the activations of the largest step, from the float32 buffers that the forward
/// pass of this program keeps: residual stream, projections, routing, experts' intermediates,
/// logits.
int64_t workspace_bytes(const ModelConfig& config, Layout layout, StepLimits limits);

}  // namespace tetrad::plan
