#include "plan/gpu_memory.h"

#include <algorithm>
#include <numeric>

#include "base/integer_math.h"

namespace tetrad::plan {

int64_t WeightMemory::total() const {
  return std::accumulate(by_kind.begin(), by_kind.end(), int64_t{0});
}

WeightMemory weight_memory(const PlannedModel& model, Layout layout) {
  WeightMemory memory;
  for (const WeightClass& weight : model.weights) {
    memory.by_kind[static_cast<size_t>(weight.kind())] +=
        shard_of(weight, model.config, layout).bytes;
  }
  return memory;
}

int64_t kv_token_bytes(const ModelConfig& config, Layout layout, DType dtype) {
  constexpr int64_t kKeysAndValues = 2;
  return kKeysAndValues * config.num_hidden_layers * kv_heads_per_rank(config, layout) *
         config.head_dim * static_cast<int64_t>(dtype_size(dtype));
}

int64_t workspace_bytes(const ModelConfig& config, Layout layout, StepLimits limits) {
  // The kernels send at most so many tokens through the experts at a time.
  constexpr int64_t kMaxExpertTokens = 1024;
  constexpr int64_t kFloat = sizeof(float);
  const int64_t tokens = limits.max_num_batched_tokens;
  const int64_t q = heads_per_rank(config, layout) * config.head_dim;
  const int64_t kv = kv_heads_per_rank(config, layout) * config.head_dim;
  const int64_t width = layout.expert_parallel
                            ? config.intermediate_size
                            : ceil_div(config.intermediate_size, layout.tensor_parallel);
  const int64_t per_token = 3 * config.hidden_size      // residual, normed, sub-layer's output
                            + 2 * q + 2 * kv            // q, attention's output, k, v
                            + config.num_local_experts  // router logits
                            + 2 * config.num_experts_per_tok;  // chosen experts and weights
  const int64_t expert_slots = std::min(tokens, kMaxExpertTokens) * config.num_experts_per_tok;
  const int64_t per_slot = 2 * width + config.hidden_size;  // gate, up, down
  const int64_t logits = std::min(tokens, limits.max_num_seqs) * config.vocab_size;
  return kFloat * (tokens * per_token + expert_slots * per_slot + logits);
}

}  // namespace tetrad::plan
