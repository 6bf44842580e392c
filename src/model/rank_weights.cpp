#include "model/rank_weights.h"

#include <fmt/format.h>

#include <memory>
#include <string_view>
#include <utility>

#include "checkpoint/weight_slice.h"

namespace tetrad {
namespace {

/// Cuts matrices, and says of an error which one it was.
class WeightCutter {
 public:
  WeightCutter(SliceMemory& memory, const DoneReading& done_reading)
      : memory_(memory), done_reading_(done_reading) {}

  Result<WeightMatrix> rows(const WeightMatrix& whole, plan::Range range, std::string_view module) {
    return located(slice_rows(whole, range.begin, range.end, memory_), module);
  }

  Result<WeightMatrix> columns(const WeightMatrix& whole, plan::Range range,
                               std::string_view module) {
    auto slice = located(slice_columns(whole, range.begin, range.end, memory_), module);
    if (slice && slice->data != whole.data && done_reading_)
      done_reading_({whole.data, static_cast<size_t>(whole.rows * whole.row_bytes())});
    return slice;
  }

 private:
  static Result<WeightMatrix> located(Result<WeightMatrix> slice, std::string_view module) {
    if (slice) return slice;
    return tl::unexpected(std::move(slice.error()).in(fmt::format("module \"{}\"", module)));
  }

  SliceMemory& memory_;
  const DoneReading& done_reading_;
};

plan::Range elements_of(plan::Range heads, int64_t head_dim) {
  return {heads.begin * head_dim, heads.end * head_dim};
}

std::vector<float> elements(const std::vector<float>& whole, plan::Range range) {
  return {whole.begin() + range.begin, whole.begin() + range.end};
}

Result<MiniMaxM2Layer> share_layer(const MiniMaxM2Layer& whole, int64_t index,
                                   const ModelConfig& config, const plan::RankShare& share,
                                   WeightCutter& cutter) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const std::string attention = prefix + "self_attn.";
  const plan::Range q = elements_of(share.heads, config.head_dim);
  const plan::Range kv = elements_of(share.kv_heads, config.head_dim);

  MiniMaxM2Layer layer;
  layer.input_layernorm = whole.input_layernorm;
  layer.post_attention_layernorm = whole.post_attention_layernorm;
  TETRAD_ASSIGN(layer.q_proj, cutter.rows(whole.q_proj, q, attention + "q_proj"));
  TETRAD_ASSIGN(layer.k_proj, cutter.rows(whole.k_proj, kv, attention + "k_proj"));
  TETRAD_ASSIGN(layer.v_proj, cutter.rows(whole.v_proj, kv, attention + "v_proj"));
  TETRAD_ASSIGN(layer.o_proj, cutter.columns(whole.o_proj, q, attention + "o_proj"));
  layer.q_norm = elements(whole.q_norm, q);
  layer.k_norm = elements(whole.k_norm, kv);
  layer.router = whole.router;
  layer.routing_bias = whole.routing_bias;
  for (int64_t expert = share.experts.begin; expert < share.experts.end; ++expert) {
    const auto e = static_cast<size_t>(expert);
    const std::string module = fmt::format("{}block_sparse_moe.experts.{}.", prefix, expert);
    const plan::Range width = share.expert_columns;
    TETRAD_ASSIGN(WeightMatrix w1, cutter.rows(whole.w1[e], width, module + "w1"));
    TETRAD_ASSIGN(WeightMatrix w3, cutter.rows(whole.w3[e], width, module + "w3"));
    TETRAD_ASSIGN(WeightMatrix w2, cutter.columns(whole.w2[e], width, module + "w2"));
    layer.w1.push_back(w1);
    layer.w3.push_back(w3);
    layer.w2.push_back(w2);
  }
  return layer;
}

}  // namespace

Result<WeightMatrix> WeightShare::embed_tokens(SliceMemory& memory) const {
  return WeightCutter(memory, done_reading_)
      .rows(whole_.embed_tokens, share_.vocabulary, "model.embed_tokens");
}

Result<WeightMatrix> WeightShare::lm_head(SliceMemory& memory) const {
  return WeightCutter(memory, done_reading_).rows(whole_.lm_head, share_.vocabulary, "lm_head");
}

Result<MiniMaxM2Layer> WeightShare::layer(size_t index, SliceMemory& memory) const {
  WeightCutter cutter(memory, done_reading_);
  return share_layer(whole_.layers[index], static_cast<int64_t>(index), config_, share_, cutter);
}

int64_t WeightShare::total_bytes() const {
  int64_t bytes = 0;
  const auto add = [&](const WeightMatrix& matrix, plan::Range part, int64_t of) {
    bytes += matrix.total_bytes() * part.size() / of;
  };
  add(whole_.embed_tokens, share_.vocabulary, config_.vocab_size);
  add(whole_.lm_head, share_.vocabulary, config_.vocab_size);
  for (const MiniMaxM2Layer& layer : whole_.layers) {
    add(layer.q_proj, share_.heads, config_.num_attention_heads);
    add(layer.o_proj, share_.heads, config_.num_attention_heads);
    add(layer.k_proj, share_.kv_heads, config_.num_key_value_heads);
    add(layer.v_proj, share_.kv_heads, config_.num_key_value_heads);
    bytes += layer.router.total_bytes();
    for (auto e = static_cast<size_t>(share_.experts.begin);
         e < static_cast<size_t>(share_.experts.end); ++e) {
      for (const WeightMatrix* matrix : {&layer.w1[e], &layer.w2[e], &layer.w3[e]})
        add(*matrix, share_.expert_columns, config_.intermediate_size);
    }
  }
  return bytes;
}

Result<MiniMaxM2Weights> share_weights(const MiniMaxM2Weights& whole, const ModelConfig& config,
                                       const plan::RankShare& share,
                                       const DoneReading& done_reading) {
  auto memory = std::make_shared<SliceMemory>();
  const WeightShare cut(whole, config, share, done_reading);
  MiniMaxM2Weights weights;
  TETRAD_ASSIGN(weights.embed_tokens, cut.embed_tokens(*memory));
  TETRAD_ASSIGN(weights.lm_head, cut.lm_head(*memory));
  weights.norm = whole.norm;
  for (size_t index = 0; index < whole.layers.size(); ++index) {
    TETRAD_ASSIGN(MiniMaxM2Layer layer, cut.layer(index, *memory));
    weights.layers.push_back(std::move(layer));
  }
  weights.kv_scales = whole.kv_scales;
  weights.copies = std::move(memory);
  return weights;
}

}  // namespace tetrad
