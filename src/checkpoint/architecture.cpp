#include "checkpoint/architecture.h"

#include <fmt/core.h>

#include <array>
#include <charconv>

namespace tetrad {
namespace {

struct LayerName {
  int64_t layer = 0;
  std::string_view rest;  // behind "model.layers.<n>."
};

std::optional<LayerName> parse_layer_name(std::string_view name) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  LayerName result;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), result.layer);
  if (error != std::errc()) return std::nullopt;
  result.rest = name.substr(static_cast<size_t>(end - name.data()));
  if (!result.rest.starts_with('.')) return std::nullopt;
  result.rest.remove_prefix(1);
  return result;
}

class Lister {
 public:
  explicit Lister(const ModelConfig& config) : config_(config) {}

  std::vector<ExpectedTensor> list() {
    const int64_t hidden = config_.hidden_size;
    add("model.embed_tokens", TensorRole::embedding, config_.vocab_size, hidden);
    for (layer_ = 0; layer_ < config_.num_hidden_layers; ++layer_)
      add_layer();
    layer_ = -1;
    add("model.norm.weight", TensorRole::norm, hidden);
    add("lm_head", TensorRole::lm_head, config_.vocab_size, hidden);
    return std::move(tensors_);
  }

 private:
  void add(std::string name, TensorRole role, int64_t rows, int64_t cols = 1) {
    tensors_.push_back({std::move(name), role, rows, cols, layer_, expert_});
  }

  void add_layer() {
    const int64_t hidden = config_.hidden_size;
    const int64_t q = config_.q_size();
    const int64_t kv = config_.kv_size();
    const std::string prefix = fmt::format("model.layers.{}.", layer_);
    const std::string attention = prefix + "self_attn.";
    const std::string moe = prefix + "block_sparse_moe.";
    add(prefix + "input_layernorm.weight", TensorRole::norm, hidden);
    add(attention + "q_proj", TensorRole::attention_projection, q, hidden);
    add(attention + "k_proj", TensorRole::attention_projection, kv, hidden);
    add(attention + "v_proj", TensorRole::attention_projection, kv, hidden);
    add(attention + "q_norm.weight", TensorRole::norm, q);
    add(attention + "k_norm.weight", TensorRole::norm, kv);
    add(attention + "o_proj", TensorRole::attention_projection, hidden, q);
    add(prefix + "post_attention_layernorm.weight", TensorRole::norm, hidden);
    add(moe + "gate", TensorRole::router, config_.num_local_experts, hidden);
    add(moe + "e_score_correction_bias", TensorRole::routing_bias, config_.num_local_experts);
    for (expert_ = 0; expert_ < config_.num_local_experts; ++expert_)
      add_expert(fmt::format("{}experts.{}.", moe, expert_));
    expert_ = -1;
  }

  void add_expert(const std::string& prefix) {
    const int64_t hidden = config_.hidden_size;
    const int64_t width = config_.intermediate_size;
    add(prefix + "w1", TensorRole::expert_w1, width, hidden);
    add(prefix + "w3", TensorRole::expert_w3, width, hidden);
    add(prefix + "w2", TensorRole::expert_w2, hidden, width);
  }

  const ModelConfig& config_;
  std::vector<ExpectedTensor> tensors_;
  int64_t layer_ = -1;
  int64_t expert_ = -1;
};

}  // namespace

std::string_view tensor_role_name(TensorRole role) {
  switch (role) {
    case TensorRole::embedding:
      return "embedding";
    case TensorRole::lm_head:
      return "lm_head";
    case TensorRole::norm:
      return "norm";
    case TensorRole::attention_projection:
      return "attention_projection";
    case TensorRole::router:
      return "router";
    case TensorRole::routing_bias:
      return "routing_bias";
    case TensorRole::expert_w1:
      return "expert_w1";
    case TensorRole::expert_w2:
      return "expert_w2";
    case TensorRole::expert_w3:
      return "expert_w3";
  }
  return "unknown";
}

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  return Lister(config).list();
}

bool is_mtp_tensor(std::string_view name, const ModelConfig& config) {
  const std::optional<LayerName> parsed = parse_layer_name(name);
  return parsed && parsed->layer >= config.num_hidden_layers &&
         parsed->layer - config.num_hidden_layers < config.num_mtp_modules;
}

std::optional<KvScaleName> parse_kv_scale_name(std::string_view name) {
  struct Spelling {
    std::string_view text;
    KvScaleKind kind;
  };
  static constexpr std::array kSpellings = {
      Spelling{"k_scale", KvScaleKind::key},
      Spelling{"attn.k_scale", KvScaleKind::key},
      Spelling{"k_proj.k_scale", KvScaleKind::key},
      Spelling{"k_proj.output_scale", KvScaleKind::key},
      Spelling{"v_scale", KvScaleKind::value},
      Spelling{"attn.v_scale", KvScaleKind::value},
      Spelling{"v_proj.v_scale", KvScaleKind::value},
      Spelling{"v_proj.output_scale", KvScaleKind::value},
      Spelling{"kv_scale", KvScaleKind::both},
      Spelling{"q_scale", KvScaleKind::other},
      Spelling{"attn.q_scale", KvScaleKind::other},
      Spelling{"prob_scale", KvScaleKind::other},
      Spelling{"attn.prob_scale", KvScaleKind::other},
  };
  constexpr std::string_view kAttention = "self_attn.";
  const std::optional<LayerName> parsed = parse_layer_name(name);
  if (!parsed || !parsed->rest.starts_with(kAttention)) return std::nullopt;
  const std::string_view suffix = parsed->rest.substr(kAttention.size());
  for (const auto& [text, kind] : kSpellings) {
    if (text == suffix) return KvScaleName{parsed->layer, kind};
  }
  return std::nullopt;
}

std::optional<KvScaleName> parse_kv_scale_name(std::string_view name, const ModelConfig& config) {
  const auto scale = parse_kv_scale_name(name);
  return scale && scale->layer < config.num_hidden_layers ? scale : std::nullopt;
}

}  // namespace tetrad
