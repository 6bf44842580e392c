#pragma once

// MiniMax-M2 on a GPU: the same forward pass as minimax_m2.h, in the launches that its kernels are
// made for. A step of one token for each of a few sequences is recorded once as a graph and
// replayed.

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "checkpoint/kv_scales.h"
#include "gpu/device.h"
#include "kernels/batch.h"
#include "kernels/gpu/gpu_kernels.h"
#include "kernels/kernels.h"
#include "model/gpu_weights.h"

namespace tetrad {

struct GpuModelLimits {
  int64_t num_kv_blocks = 0;
  int64_t max_num_batched_tokens = 2048;
  int64_t max_num_seqs = 64;
  int64_t max_logits_rows = 64;
  int64_t max_model_len = 0;
};

class GpuModel {
 public:
  /// Takes the weights' memory over. `kv_scales`: one for each layer. Errors: unsupported, for
  /// sizes that the kernels do not take; resource_exhausted, with what was asked for.
  static Result<std::unique_ptr<GpuModel>> create(
      const ModelConfig& config, std::unique_ptr<gpu::Device> device, gpu::GpuKernels kernels,
      std::unique_ptr<GpuMemory> memory, GpuWeights weights, std::span<const KvScales> kv_scales,
      const GpuModelLimits& limits);
  ~GpuModel();

  /// Bytes one block of the cache takes over all layers.
  static int64_t kv_block_bytes(const ModelConfig& config);

  /// Computes one batch: logits of batch.logits_rows, [rows, vocab_size] in host memory, valid
  /// until the next call. Errors: invalid_argument for a batch beyond the limits; what the driver
  /// says.
  Result<Activations> forward(const Batch& batch);

  const ModelConfig& config() const { return config_; }
  gpu::GpuKernels& kernels() { return kernels_; }
  const GpuModelLimits& limits() const { return limits_; }
  /// Without graphs each launch can be timed.
  void set_use_graphs(bool use) { use_graphs_ = use; }

 private:
  struct Inputs;
  struct Buffers;

  GpuModel(const ModelConfig& config, std::unique_ptr<gpu::Device> device, gpu::GpuKernels kernels,
           std::unique_ptr<GpuMemory> memory, GpuWeights weights, const GpuModelLimits& limits);

  Result<void> allocate(std::span<const KvScales> kv_scales);
  Result<void> copy_inputs(const Batch& batch);
  /// The launches of a step; what they compute on is what copy_inputs() left.
  void enqueue();
  void decoder_layer(size_t index);
  void attention(size_t index);
  void experts(const GpuLayer& layer);
  /// out[t] = W norm(residual[t]), for num_rows rows.
  void norm_product(const gpu::PackedMatrix& weight, const float* residual, const float* norm,
                    uint32_t num_rows, float* out);
  /// out[t] = W halves[t], or += it with `add` 1.
  void product(const gpu::PackedMatrix& weight, const uint16_t* halves, uint32_t stride,
               uint32_t num_rows, float* out, uint32_t add);
  /// The same arguments with the levels that the codes of all weights stand for.
  template <class Args>
  Args with_codebook(Args args) const;

  ModelConfig config_;
  std::unique_ptr<gpu::Device> device_;
  gpu::GpuKernels kernels_;
  std::unique_ptr<GpuMemory> memory_;
  GpuWeights weights_;
  GpuModelLimits limits_;
  std::unique_ptr<Inputs> inputs_;
  std::unique_ptr<Buffers> buffers_;

  /// What the launches of a step depend on.
  struct Shape {
    uint32_t num_tokens = 0;
    uint32_t num_logits = 0;
    uint32_t num_decodes = 0;  // sequences with one token
    uint32_t num_items = 0;    // of attend_prefill
    uint32_t max_groups = 0;   // of keys of a decoding sequence, rounded up to a power of two
    auto operator<=>(const Shape&) const = default;
  };
  Shape shape_;
  bool use_graphs_ = true;
  std::map<Shape, std::unique_ptr<gpu::Graph>> graphs_;
};

}  // namespace tetrad
