#pragma once

// MiniMax-M2's weights in a GPU's memory: matrices in the tiles that its kernels read, vectors and
// the router as float32, embeddings as BF16.

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/error.h"
#include "checkpoint/config.h"
#include "gpu/device.h"
#include "kernels/gpu/gpu_kernels.h"
#include "model/minimax_m2.h"
#include "model/rank_weights.h"

namespace tetrad {

struct GpuLayer {
  gpu::PackedMatrix qkv;  // [q_size + 2 * kv_size, hidden_size]: q, k and v, one below the other
  gpu::PackedMatrix o;    // [hidden_size, q_size]
  gpu::PackedMatrix w1;   // of expert 0: [intermediate_size, hidden_size]
  gpu::PackedMatrix w3;   // of expert 0
  gpu::PackedMatrix w2;   // of expert 0: [hidden_size, intermediate_size]
  const float* router = nullptr;        // [num_local_experts, hidden_size]
  const float* routing_bias = nullptr;  // [num_local_experts]
  const float* input_layernorm = nullptr;
  const float* post_attention_layernorm = nullptr;
  const float* q_norm = nullptr;
  const float* k_norm = nullptr;
};

struct GpuWeights {
  const uint16_t* embed_tokens = nullptr;  // BF16 [vocab_size, hidden_size]
  gpu::PackedMatrix lm_head;               // [vocab_size, hidden_size]
  const float* norm = nullptr;
  std::vector<GpuLayer> layers;
  Codebook codebook = kIq4NlCodebook;
  /// From one expert's tiles to the next one's.
  uint64_t up_stride = 0;    // of w1 and w3
  uint64_t down_stride = 0;  // of w2
};

/// Device memory that is freed together.
class GpuMemory {
 public:
  explicit GpuMemory(gpu::Device& device) : device_(&device) {}
  ~GpuMemory();
  GpuMemory(const GpuMemory&) = delete;
  GpuMemory& operator=(const GpuMemory&) = delete;

  gpu::Device& device() { return *device_; }
  Result<gpu::DeviceAddress> allocate(int64_t bytes);
  Result<std::byte*> allocate_pinned(int64_t bytes);
  template <class T>
  Result<T*> array(int64_t count) {
    TETRAD_ASSIGN(const gpu::DeviceAddress address,
                  allocate(count * static_cast<int64_t>(sizeof(T))));
    return reinterpret_cast<T*>(address);
  }
  /// An array of zeros.
  template <class T>
  Result<T*> zeros(int64_t count) {
    return filled<T>(count, 0);
  }
  /// An array of which every byte is `byte`.
  template <class T>
  Result<T*> filled(int64_t count, uint8_t byte) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    TETRAD_ASSIGN(const gpu::DeviceAddress address, allocate(bytes));
    TETRAD_TRY(device_->fill(address, byte, bytes));
    return reinterpret_cast<T*>(address);
  }

 private:
  gpu::Device* device_;
  std::vector<gpu::DeviceAddress> addresses_;
  std::vector<std::byte*> pinned_;
};

/// Bytes moved so far, of all.
using LoadProgress = std::function<void(int64_t done, int64_t total)>;

/// Copies a checkpoint's weights and packs them on the device. Errors: unsupported for a matrix
/// whose format or shape the GPU's kernels do not take, naming it; resource_exhausted.
Result<GpuWeights> load_gpu_weights(const ModelConfig& config, const MiniMaxM2Weights& weights,
                                    gpu::GpuKernels& kernels, GpuMemory& memory,
                                    const LoadProgress& progress = {});

/// One rank's share of them. A layer's copies are in this machine's memory only until they are on
/// the device.
Result<GpuWeights> load_gpu_weights(const WeightShare& share, gpu::GpuKernels& kernels,
                                    GpuMemory& memory, const LoadProgress& progress = {});

/// Random weights made on the device, for benchmarks: all matrices mxfp4_16 but the router. config:
/// the whole model's. Of many ranks each has tiles of its own for its share, and all the same
/// router.
Result<GpuWeights> make_random_gpu_weights(const ModelConfig& config, const plan::RankShare& share,
                                           uint32_t seed, gpu::GpuKernels& kernels,
                                           GpuMemory& memory);

}  // namespace tetrad
