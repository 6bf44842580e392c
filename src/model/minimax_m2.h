#pragma once

// MiniMax-M2: from token ids to logits (minimax-m2 spec, section 3).

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/kv_scales.h"
#include "checkpoint/weight_slice.h"
#include "kernels/kernels.h"
#include "kernels/likely_token.h"
#include "model/kv_cache.h"
#include "model/rank_group.h"
#include "parallel/communicator.h"
#include "plan/sharding.h"

namespace tetrad {

/// Sees the tensors of a forward pass as they come into being; `layer` is -1 outside the layers.
/// Names: embed, attn_in (of q, k and v), k and v (as they go into the KV cache), attended (into
/// o), attn_out, moe_in (of router and experts), router_logits, router_index (ids as floats),
/// router_weights, moe_out, out (of the layer), final_norm. The memory is the model's own and
/// changes after the call. Of many ranks each shows its own heads of k, v and attended.
using Observer = std::function<void(std::string_view name, int64_t layer, Activations tensor)>;

/// One decoder layer. Vectors are float32, matrices stay as the checkpoint packs them. The sizes
/// are those of a rank that has all of it; another has its share (plan/rank_share.h).
struct MiniMaxM2Layer {
  std::vector<float> input_layernorm;           // [hidden_size]
  std::vector<float> post_attention_layernorm;  // [hidden_size]
  WeightMatrix q_proj;                          // [q_size, hidden_size]
  WeightMatrix k_proj;                          // [kv_size, hidden_size]
  WeightMatrix v_proj;                          // [kv_size, hidden_size]
  WeightMatrix o_proj;                          // [hidden_size, q_size]
  std::vector<float> q_norm;                    // [q_size]: one mean over all heads
  std::vector<float> k_norm;                    // [kv_size]
  WeightMatrix router;                          // [num_local_experts, hidden_size]
  std::vector<float> routing_bias;              // [num_local_experts], for the choice only
  std::vector<WeightMatrix> w1;  // num_local_experts x [intermediate_size, hidden_size]
  std::vector<WeightMatrix> w3;  // num_local_experts x [intermediate_size, hidden_size]
  std::vector<WeightMatrix> w2;  // num_local_experts x [hidden_size, intermediate_size]

  ExpertWeights experts() const { return {.w1 = w1, .w3 = w3, .w2 = w2}; }
};

struct MiniMaxM2Weights {
  WeightMatrix embed_tokens;  // [vocab_size, hidden_size]
  WeightMatrix lm_head;       // [vocab_size, hidden_size]
  std::vector<float> norm;    // [hidden_size]
  std::vector<MiniMaxM2Layer> layers;
  CheckpointKvScales kv_scales;
  /// Of a rank's share: what could not stay a view.
  std::shared_ptr<const SliceMemory> copies;

  /// In the order of the forward pass.
  void for_each_matrix(const std::function<void(const WeightMatrix& matrix)>& visit) const;
  /// Of all matrices, as they are packed.
  int64_t total_bytes() const;
  /// Has all matrices read into the system's cache, as far as it has room, and returns when they
  /// are: no step waits for a disk then.
  void read_all() const;

  /// Checks every tensor's presence, format and shape against the config.
  static Result<MiniMaxM2Weights> load(const Checkpoint& checkpoint);
};

/// One rank's model, or the whole one. Many ranks make the same calls with the same batches, and
/// each gets the same results.
class MiniMaxM2 {
 public:
  /// The weights stay in the checkpoint's mapping, which the model keeps alive.
  static Result<std::unique_ptr<MiniMaxM2>> load(std::shared_ptr<const Checkpoint> checkpoint,
                                                 std::shared_ptr<Kernels> kernels);
  /// The share of one of the ranks that `ranks` connects: of the others' weights nothing is read.
  /// Errors: --tensor-parallel-size, where it is not their number or does not divide the model.
  static Result<std::unique_ptr<MiniMaxM2>> load(std::shared_ptr<const Checkpoint> checkpoint,
                                                 std::shared_ptr<Kernels> kernels,
                                                 plan::Layout layout,
                                                 std::shared_ptr<parallel::Communicator> ranks);
  /// Of weights in memory that `owner` frees, which the model keeps alive. Their shapes are the
  /// caller's duty, and that rows of packed matrices divide as their format asks.
  MiniMaxM2(const ModelConfig& config, MiniMaxM2Weights weights, std::shared_ptr<const void> owner,
            std::shared_ptr<Kernels> kernels);
  /// The same of a share of the weights (share_weights).
  MiniMaxM2(ModelConfig config, MiniMaxM2Weights weights, std::shared_ptr<const void> owner,
            std::shared_ptr<Kernels> kernels, RankGroup ranks);
  ~MiniMaxM2();

  /// The whole model's.
  const ModelConfig& config() const { return config_; }
  /// With the heads and KV heads of this rank alone: what its KV cache is made for.
  const ModelConfig& local_config() const { return local_config_; }
  const plan::RankShare& share() const { return ranks_.share(); }
  const MiniMaxM2Weights& weights() const { return weights_; }
  const Kernels& kernels() const { return *kernels_; }
  Kernels& kernels() { return *kernels_; }
  /// What the checkpoint says about an FP8 KV cache; see resolve_kv_scales
  /// (model/kv_cache_format.h).
  const CheckpointKvScales& kv_scales() const { return weights_.kv_scales; }

  /// Computes one batch: writes its keys and values to `cache` and returns the logits of
  /// batch.logits_rows, [logits_rows.size(), vocab_size], valid until the next call.
  /// One caller at a time. Errors: of many ranks, where one does not come or has left.
  Result<Activations> forward(const Batch& batch, const KvCache& cache,
                              const Observer* observer = nullptr);
  /// The same, but of each row only the `count` likeliest tokens, the likeliest first, the lower id
  /// first among equals: of many ranks none needs the whole vocabulary.
  /// [logits_rows.size(), min(count, vocab_size)]
  Result<std::span<const LikelyToken>> forward_top(const Batch& batch, const KvCache& cache,
                                                   int64_t count);

  /// The same, but of each row only what this rank has of the vocabulary, share().vocabulary, to be
  /// brought together by RankLogits. [logits_rows.size(), share().vocabulary.size()]
  Result<Activations> forward_part(const Batch& batch, const KvCache& cache) {
    return local_logits(batch, cache, nullptr);
  }
  RankGroup& ranks() { return ranks_; }

  // The pieces of forward(), for those who take all their text through one layer after the other.

  /// residual[t] = embedding of token_ids[t].  residual: [T, hidden_size]
  Result<void> embed(std::span<const int32_t> token_ids, Activations residual);
  /// Takes `residual`, [batch.num_tokens(), hidden_size], through layer `index` in place.
  Result<void> layer(int64_t index, const Batch& batch, const KvCacheLayer& cache,
                     Activations residual, const Observer* observer = nullptr);
  /// The weights of one layer.
  const MiniMaxM2Layer& layer_weights(int64_t index) const {
    return weights_.layers[static_cast<size_t>(index)];
  }

 private:
  struct Workspace;

  /// The logits of batch.logits_rows, [logits_rows.size(), this rank's part of the vocabulary].
  Result<Activations> local_logits(const Batch& batch, const KvCache& cache,
                                   const Observer* observer);
  Result<void> decoder_layer(int64_t index, const Batch& batch, const KvCacheLayer& cache,
                             const Observer* observer);
  Result<void> attention(const MiniMaxM2Layer& layer, int64_t index, const Batch& batch,
                         const KvCacheLayer& cache, const Observer* observer);
  Result<void> mixture_of_experts(const MiniMaxM2Layer& layer, int64_t index,
                                  const Observer* observer);

  RankGroup ranks_;
  ModelConfig config_;
  ModelConfig local_config_;
  MiniMaxM2Weights weights_;
  std::shared_ptr<const void> owner_;  // of the memory that weights_ point to
  std::shared_ptr<Kernels> kernels_;
  std::unique_ptr<Workspace> workspace_;
};

}  // namespace tetrad
