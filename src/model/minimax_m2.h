#pragma once

// MiniMax-M2: from token ids to logits (minimax-m2 spec, section 3).

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "kernels/kernels.h"
#include "model/kv_cache.h"

namespace tetrad {

/// Sees the tensors of a forward pass as they come into being; `layer` is -1 outside the layers.
/// Names: embed, attn_out, router_logits, moe_out, out (of the layer), final_norm.
/// Router choices come as router_index (ids as floats) and router_weights.
using Observer = std::function<void(std::string_view name, int64_t layer, Activations tensor)>;

class MiniMaxM2 {
 public:
  /// Checks every tensor's presence, format and shape; the weights stay in the checkpoint's
  /// mapping.
  static Result<std::unique_ptr<MiniMaxM2>> load(std::shared_ptr<const Checkpoint> checkpoint,
                                                 std::shared_ptr<Kernels> kernels);

  const ModelConfig& config() const { return checkpoint_->config(); }
  Kernels& kernels() const { return *kernels_; }

  /// Computes one batch: writes its keys and values to `cache` and returns the logits of
  /// batch.logits_rows, [logits_rows.size(), vocab_size], valid until the next call.
  /// One caller at a time.
  Activations forward(const Batch& batch, const KvCache& cache, const Observer* observer = nullptr);

 private:
  struct Layer {
    std::vector<float> input_layernorm;           // [hidden_size]
    std::vector<float> post_attention_layernorm;  // [hidden_size]
    WeightMatrix q_proj;                          // [q_size, hidden_size]
    WeightMatrix k_proj, v_proj;                  // [kv_size, hidden_size]
    WeightMatrix o_proj;                          // [hidden_size, q_size]
    std::vector<float> q_norm;                    // [q_size]: one mean over all heads
    std::vector<float> k_norm;                    // [kv_size]
    WeightMatrix router;                          // [num_local_experts, hidden_size]
    std::vector<float> routing_bias;              // [num_local_experts], for the choice only
    std::vector<WeightMatrix> w1, w2, w3;         // one each expert
  };
  struct Workspace;

  MiniMaxM2(std::shared_ptr<const Checkpoint> checkpoint, std::shared_ptr<Kernels> kernels);
  Result<Layer> load_layer(int64_t index) const;
  void attention(const Layer& layer, const Batch& batch, const KvCacheLayer& cache);
  void mixture_of_experts(const Layer& layer, const Batch& batch);

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<Kernels> kernels_;
  WeightMatrix embed_tokens_;  // [vocab_size, hidden_size]
  WeightMatrix lm_head_;       // [vocab_size, hidden_size]
  std::vector<float> norm_;    // [hidden_size]
  std::vector<Layer> layers_;
  std::unique_ptr<Workspace> workspace_;

 public:
  ~MiniMaxM2();
};

}  // namespace tetrad
