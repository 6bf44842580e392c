#include "model/step_cost.h"

#include <algorithm>

namespace tetrad {

StepCostCounter::StepCostCounter(const MiniMaxM2& model, DType kv_dtype)
    : model_(&model),
      kv_dtype_(kv_dtype),
      observer_([this](std::string_view name, int64_t layer, Activations tensor) {
        if (name == "router_index") add_experts(model_->layer_weights(layer), tensor);
      }),
      visited_(static_cast<size_t>(model.config().num_local_experts)) {}

void StepCostCounter::add(const Batch& batch) {
  const MiniMaxM2Weights& weights = model_->weights();
  const WeightMatrix& table = weights.embed_tokens;
  total_.bytes += batch.num_tokens() * (table.total_bytes() / table.rows);
  for (const MiniMaxM2Layer& layer : weights.layers) {
    for (const WeightMatrix* matrix :
         {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj, &layer.router})
      add_matrix(*matrix, batch.num_tokens());
  }
  for (const SequenceSlice& sequence : batch.sequences)
    add_attention(sequence);
  if (!batch.logits_rows.empty())
    add_matrix(weights.lm_head, static_cast<int64_t>(batch.logits_rows.size()));
}

void StepCostCounter::add_matrix(const WeightMatrix& matrix, int64_t num_tokens) {
  total_.bytes += matrix.total_bytes();
  total_.operations += 2 * num_tokens * matrix.rows * matrix.cols;
}

void StepCostCounter::add_attention(const SequenceSlice& sequence) {
  const ModelConfig& config = model_->config();
  const int64_t keys = sequence.context_len + sequence.query_len;
  const int64_t bytes_of_key = config.kv_size() * static_cast<int64_t>(dtype_size(kv_dtype_));
  total_.bytes += config.num_hidden_layers * 2 * keys * bytes_of_key;
  // Row r of the slice sees context_len + r + 1 keys.
  const int64_t seen =
      sequence.query_len * sequence.context_len + sequence.query_len * (sequence.query_len + 1) / 2;
  total_.operations += config.num_hidden_layers * 2 * 2 * seen * config.q_size();
}

void StepCostCounter::add_experts(const MiniMaxM2Layer& layer, Activations expert_ids) {
  std::fill(visited_.begin(), visited_.end(), false);
  for (int64_t i = 0; i < expert_ids.rows * expert_ids.cols; ++i) {
    const auto expert = static_cast<size_t>(expert_ids.data[i]);
    for (const auto* experts : {&layer.w1, &layer.w3, &layer.w2}) {
      const WeightMatrix& matrix = (*experts)[expert];
      if (!visited_[expert]) total_.bytes += matrix.total_bytes();
      total_.operations += 2 * matrix.rows * matrix.cols;
    }
    visited_[expert] = true;
  }
}

}  // namespace tetrad
