#include <fmt/core.h>

#include <functional>

#include "checkpoint/stray_tensors.h"
#include "model/minimax_m2.h"

namespace tetrad {
namespace {

/// Module names: minimax-m2 spec, section 2.2.
Result<MiniMaxM2Layer> load_layer(const Checkpoint& checkpoint, int64_t index) {
  const ModelConfig& config = checkpoint.config();
  const int64_t hidden = config.hidden_size;
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const std::string attention = prefix + "self_attn.";
  const std::string moe = prefix + "block_sparse_moe.";

  MiniMaxM2Layer layer;
  TETRAD_ASSIGN(layer.input_layernorm,
                checkpoint.vector(prefix + "input_layernorm.weight", hidden));
  TETRAD_ASSIGN(layer.post_attention_layernorm,
                checkpoint.vector(prefix + "post_attention_layernorm.weight", hidden));
  TETRAD_ASSIGN(layer.q_proj, checkpoint.matrix(attention + "q_proj", config.q_size(), hidden));
  TETRAD_ASSIGN(layer.k_proj, checkpoint.matrix(attention + "k_proj", config.kv_size(), hidden));
  TETRAD_ASSIGN(layer.v_proj, checkpoint.matrix(attention + "v_proj", config.kv_size(), hidden));
  TETRAD_ASSIGN(layer.o_proj, checkpoint.matrix(attention + "o_proj", hidden, config.q_size()));
  TETRAD_ASSIGN(layer.q_norm, checkpoint.vector(attention + "q_norm.weight", config.q_size()));
  TETRAD_ASSIGN(layer.k_norm, checkpoint.vector(attention + "k_norm.weight", config.kv_size()));
  TETRAD_ASSIGN(layer.router, checkpoint.matrix(moe + "gate", config.num_local_experts, hidden));
  TETRAD_ASSIGN(layer.routing_bias,
                checkpoint.vector(moe + "e_score_correction_bias", config.num_local_experts));
  for (int64_t expert = 0; expert < config.num_local_experts; ++expert) {
    const std::string module = fmt::format("{}experts.{}.", moe, expert);
    TETRAD_ASSIGN(WeightMatrix w1,
                  checkpoint.matrix(module + "w1", config.intermediate_size, hidden));
    TETRAD_ASSIGN(WeightMatrix w3,
                  checkpoint.matrix(module + "w3", config.intermediate_size, hidden));
    TETRAD_ASSIGN(WeightMatrix w2,
                  checkpoint.matrix(module + "w2", hidden, config.intermediate_size));
    layer.w1.push_back(w1);
    layer.w3.push_back(w3);
    layer.w2.push_back(w2);
  }
  return layer;
}

}  // namespace

void MiniMaxM2Weights::for_each_matrix(
    const std::function<void(const WeightMatrix& matrix)>& visit) const {
  visit(embed_tokens);
  for (const MiniMaxM2Layer& layer : layers) {
    for (const WeightMatrix* matrix :
         {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj, &layer.router})
      visit(*matrix);
    for (const std::vector<WeightMatrix>* experts : {&layer.w1, &layer.w3, &layer.w2}) {
      for (const WeightMatrix& matrix : *experts)
        visit(matrix);
    }
  }
  visit(lm_head);
}

int64_t MiniMaxM2Weights::total_bytes() const {
  int64_t bytes = 0;
  for_each_matrix([&](const WeightMatrix& matrix) { bytes += matrix.total_bytes(); });
  return bytes;
}

void MiniMaxM2Weights::read_all() const {
  constexpr int64_t kSmallestPage = 4096;
  const auto read = [](const std::byte* bytes, int64_t count) {
    for (int64_t i = 0; i < count; i += kSmallestPage)
      static_cast<void>(*static_cast<const volatile std::byte*>(bytes + i));
  };
  for_each_matrix([&](const WeightMatrix& matrix) {
    const int64_t codes = matrix.rows * matrix.row_bytes();
    read(matrix.data, codes);
    const bool has_only_scales = matrix.zero_points == nullptr && matrix.group_of_column == nullptr;
    if (matrix.scales != nullptr && has_only_scales)
      read(matrix.scales, matrix.total_bytes() - codes);
  });
}

Result<MiniMaxM2Weights> MiniMaxM2Weights::load(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  MiniMaxM2Weights weights;
  TETRAD_ASSIGN(weights.embed_tokens,
                checkpoint.matrix("model.embed_tokens", config.vocab_size, config.hidden_size));
  TETRAD_ASSIGN(weights.lm_head,
                checkpoint.matrix("lm_head", config.vocab_size, config.hidden_size));
  TETRAD_ASSIGN(weights.norm, checkpoint.vector("model.norm.weight", config.hidden_size));
  for (int64_t index = 0; index < config.num_hidden_layers; ++index) {
    TETRAD_ASSIGN(MiniMaxM2Layer layer, load_layer(checkpoint, index));
    weights.layers.push_back(std::move(layer));
  }
  TETRAD_TRY(check_no_stray_tensors(checkpoint));
  weights.kv_scales = read_kv_scales(checkpoint);
  return weights;
}

}  // namespace tetrad
