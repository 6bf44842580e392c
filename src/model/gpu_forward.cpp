// MiniMax-M2's forward pass in launches (minimax-m2 spec, section 3).

#include <algorithm>
#include <cmath>

#include "model/gpu_model.h"
#include "model/gpu_model_buffers.h"

namespace tetrad {

template <class Args>
Args GpuModel::with_codebook(Args args) const {
  std::ranges::copy(weights_.codebook, args.codebook);
  return args;
}

void GpuModel::enqueue() {
  Buffers& b = *buffers_;
  const auto hidden = static_cast<uint32_t>(config_.hidden_size);
  kernels_.embed({.table = weights_.embed_tokens,
                  .token_ids = inputs_->token_ids.device,
                  .residual = b.residual,
                  .hidden_size = hidden,
                  .first_token = static_cast<uint32_t>(ranks_.share().vocabulary.begin),
                  .num_rows = static_cast<uint32_t>(ranks_.share().vocabulary.size()),
                  .num_updates = inputs_->num_updates.device,
                  .updates = inputs_->updates.device,
                  .block_table = inputs_->block_table},
                 shape().num_tokens);
  sum_residual();
  for (size_t index = 0; index < weights_.layers.size(); ++index)
    decoder_layer(index);
}

void GpuModel::enqueue_logits(uint32_t first, uint32_t count) {
  Buffers& b = *buffers_;
  kernels_.gather_rows({.x = b.residual,
                        .rows = inputs_->logits_rows.device + first,
                        .out = b.last,
                        .cols = static_cast<uint32_t>(config_.hidden_size)},
                       count);
  float* logits = logits_->device();
  const bool is_alone = ranks_.is_alone();
  norm_product(b.last, weights_.norm,
               {.weight = weights_.lm_head,
                .num_tokens = count,
                .out = is_alone ? logits : b.logits_part,
                .out_stride = is_alone ? weights_.lm_head.rows
                                       : static_cast<uint32_t>(ranks_.vocabulary_width())});
  if (!is_alone) ranks_.gather_logits(b.logits_part, count, logits);
}

void GpuModel::sum_residual() {
  ranks_.sum(buffers_->residual, int64_t{shape().num_tokens} * config_.hidden_size);
}

uint32_t GpuModel::adds_to_residual() const {
  return ranks_.brings_residual() ? 1 : 0;
}

void GpuModel::enqueue_told_logits(uint32_t first, uint32_t count) {
  enqueue_logits(first, count);
  kernels_.summarize_logits(logits_->summarize_args(inputs_->exponent_scales.device + first, count),
                            count);
}

/// residual += attention(norm(residual)); residual += experts(norm(residual)).
void GpuModel::decoder_layer(size_t index) {
  const GpuLayer& layer = weights_.layers[index];
  // Of a step with a prompt qk_norm_rope adds them up, but where other ranks have the other heads.
  const bool needs_squares = buffers_->squares != nullptr || shape().num_items == 0;
  norm_product(buffers_->residual, layer.input_layernorm,
               {.weight = layer.qkv,
                .num_tokens = shape().num_tokens,
                .out = buffers_->qkv,
                .out_stride = layer.qkv.rows,
                .partial = buffers_->products},
               needs_squares ? buffers_->square_sums : nullptr);
  attention(index);
  product({.weight = layer.o,
           .x = buffers_->attended,
           .x_stride = buffers_->attended_stride,
           .num_tokens = shape().num_tokens,
           .out = buffers_->residual,
           .out_stride = layer.o.rows,
           .add = adds_to_residual(),
           .partial = buffers_->products});
  sum_residual();
  experts(layer);
  sum_residual();
}

void GpuModel::norm_product(const float* residual, const float* norm, gpu::GemmArgs args,
                            float* square_sums) {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  if (args.num_tokens == 1)
    return kernels_.decode_product(
        with_codebook(gpu::DecodeProductArgs{.weight = args.weight,
                                             .residual = residual,
                                             .norm_weight = norm,
                                             .eps = eps,
                                             .num_tokens = 1,
                                             .out = args.out,
                                             .out_stride = args.out_stride,
                                             .square_sums = square_sums}));
  args.x = buffers_->normed;
  args.x_stride = buffers_->normed_stride;
  kernels_.norm_rows({.x = residual,
                      .weight = norm,
                      .out = buffers_->normed,
                      .cols = args.weight.cols,
                      .stride = args.x_stride,
                      .eps = eps},
                     args.num_tokens);
  product(args, square_sums);
}

void GpuModel::product(const gpu::GemmArgs& args, float* square_sums) {
  kernels_.product(with_codebook(args), square_sums);
}

/// attended = attention(rope(q_norm(q)), rope(k_norm(k)), v), keys and values by way of the cache.
void GpuModel::attention(size_t index) {
  Buffers& b = *buffers_;
  const GpuStepInputs& in = *inputs_;
  const GpuLayer& layer = weights_.layers[index];
  const KvScales scales = b.scales[index];
  const auto head_dim = static_cast<uint32_t>(config_.head_dim);
  const double softmax_scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
  const gpu::QkNormRopeArgs rope{
      .qkv = b.qkv,
      .square_sums = shape().num_decodes > 0 ? b.square_sums : nullptr,
      .q_norm = layer.q_norm,
      .k_norm = layer.k_norm,
      .eps = static_cast<float>(config_.rms_norm_eps),
      .q_size = static_cast<uint32_t>(config_.q_size()),
      .kv_size = static_cast<uint32_t>(config_.kv_size()),
      .head_dim = head_dim,
      .rotary_dim = static_cast<uint32_t>(config_.rotary_dim),
      .rotation = b.rotation,
      .positions = in.positions.device,
      .slot_mapping = in.slot_mapping.device,
      .q_factor = static_cast<float>(softmax_scale * std::log2(std::exp(1.0)) * scales.k),
      .q = b.q,
      .k_cache = b.k_cache[index],
      .v_cache = b.v_cache[index],
      .k_scale = scales.k,
      .v_scale = scales.v,
      .squares = b.squares,
      .all_q_size = static_cast<uint32_t>(ranks_.q_size()),
      .all_kv_size = static_cast<uint32_t>(ranks_.kv_size())};
  ranks_.sum_qk_squares(kernels_,
                        {.square_sums = b.square_sums,
                         .q_size = rope.q_size,
                         .kv_size = rope.kv_size,
                         .counts_k = ranks_.share().counts_kv_heads ? 1u : 0u,
                         .squares = b.squares},
                        shape().num_tokens);
  // Attention does it itself where a sequence has one token.
  if (shape().num_items > 0) kernels_.qk_norm_rope(rope, shape().num_tokens);
  gpu::AttentionArgs args{
      .q = b.q,
      .k_cache = b.k_cache[index],
      .v_cache = b.v_cache[index],
      .v_scale = scales.v,
      .num_kv_heads = static_cast<uint32_t>(config_.num_key_value_heads),
      .group = static_cast<uint32_t>(config_.num_attention_heads / config_.num_key_value_heads),
      .query_start = in.query_start.device,
      .query_len = in.query_len.device,
      .context_len = in.context_len.device,
      .block_table = in.block_table,
      .table_stride = static_cast<uint32_t>(in.table_stride),
      .attended = b.attended,
      .attended_stride = b.attended_stride,
      .partial = b.attend_partial,
      .max_groups = shape().max_groups,
      .finished = b.attend_finished,
      .items = in.items.device,
      .num_items = shape().num_items};
  // As many sequences at a time as the buffer of groups has room for.
  const auto at_once = static_cast<uint32_t>(
      shape().max_groups == 0 ? 1 : std::max<int64_t>(b.max_partials / shape().max_groups, 1));
  for (uint32_t first = 0; first < shape().num_decodes; first += at_once) {
    const uint32_t count = std::min(at_once, shape().num_decodes - first);
    args.sequences = in.decodes.device + first;
    kernels_.attend_decode({args, rope}, head_dim, count,
                           attention_work({in.decodes.host + first, count}));
  }
  if (shape().num_items > 0) kernels_.attend_prefill(args, head_dim, prefill_work());
}

gpu::ExpertCount GpuModel::experts_here() const {
  return {static_cast<uint32_t>(config_.num_local_experts),
          static_cast<uint32_t>(ranks_.share().experts.size())};
}

/// residual += Σ weight_e · w2_e (silu(w1_e h) ⊙ w3_e h) over the chosen experts e, h the norm;
/// where experts are dealt out whole, over those that this rank has.
void GpuModel::experts(const GpuLayer& layer) {
  Buffers& b = *buffers_;
  const uint32_t num_tokens = shape().num_tokens;
  const gpu::ExpertChoice choice = expert_choice(layer);
  const gpu::ExpertsOfOneArgs one = experts_of_one(layer, choice);
  if (kernels_.takes_experts_of_one(one)) {
    route(layer, choice, one.num_hidden_words());
    return kernels_.experts_of_one(one, experts_here());
  }
  const gpu::ExpertsStreamArgs stream = experts_stream(layer, choice);
  const bool by_themselves = kernels_.takes_experts_stream(stream);
  // The experts' weights are read once for a few tokens each; for many, tiles of tokens are worth
  // it.
  const bool is_few = kernels_.streams_experts(choice, by_themselves);
  const bool streams = is_few && by_themselves;
  route(layer, choice, streams ? stream.num_hidden_words() : 0);
  const uint32_t num_pairs = num_tokens * choice.num_experts_per_tok;
  gpu::TokenTiles tiles;
  if (!is_few) tiles = kernels_.expert_tiles(layer.w1.format, num_pairs, choice.num_experts);
  tiles.tiles = b.token_tiles;
  tiles.num_tiles = b.num_token_tiles;
  if (num_tokens > gpu::kFewTokens)
    kernels_.group_by_expert({.expert_ids = b.expert_ids,
                              .num_pairs = num_pairs,
                              .num_experts = experts_here().here,
                              .lists = b.lists,
                              .tiles = tiles});
  if (is_few && !streams) return experts_by_token(layer, choice);
  if (streams)
    kernels_.experts_stream(stream, experts_here());
  else
    experts_by_tile(layer, choice, tiles);
  combine_experts();
}

void GpuModel::combine_experts() {
  kernels_.combine_experts(
      {.products = buffers_->products,
       .weights = buffers_->expert_weights,
       .num_experts_per_tok = static_cast<uint32_t>(config_.num_experts_per_tok),
       .residual = buffers_->residual,
       .hidden_size = static_cast<uint32_t>(config_.hidden_size),
       .add = adds_to_residual()},
      shape().num_tokens);
}

gpu::ExpertChoice GpuModel::expert_choice(const GpuLayer& layer) const {
  const Buffers& b = *buffers_;
  return {.logits = b.router_logits,
          .bias = layer.routing_bias,
          .num_experts = static_cast<uint32_t>(config_.num_local_experts),
          .num_experts_per_tok = static_cast<uint32_t>(config_.num_experts_per_tok),
          .num_tokens = shape().num_tokens,
          .expert_ids = b.expert_ids,
          .weights = b.expert_weights,
          .first_expert = static_cast<uint32_t>(ranks_.share().experts.begin),
          .end_expert = static_cast<uint32_t>(ranks_.share().experts.end)};
}

template <class Args>
Args GpuModel::experts_in_one_launch(const GpuLayer& layer, const gpu::ExpertChoice& choice) const {
  Args args;
  args.w1 = layer.w1;
  args.w3 = layer.w3;
  args.w2 = layer.w2;
  args.up_stride = weights_.up_stride;
  args.down_stride = weights_.down_stride;
  args.x = buffers_->normed;
  args.choice = choice;
  args.hidden = told_hidden();
  return with_codebook(args);
}

gpu::ExpertsOfOneArgs GpuModel::experts_of_one(const GpuLayer& layer,
                                               const gpu::ExpertChoice& choice) const {
  auto args = experts_in_one_launch<gpu::ExpertsOfOneArgs>(layer, choice);
  args.products = buffers_->told_products;
  args.residual = buffers_->residual;
  args.add = adds_to_residual();
  return args;
}

uint32_t GpuModel::least_streamed_tokens() const {
  const GpuLayer& layer = weights_.layers.front();
  const gpu::ExpertChoice choice{
      .num_experts_per_tok = static_cast<uint32_t>(config_.num_experts_per_tok),
      .num_tokens = gpu::kLeastStreamedTokens};
  return kernels_.takes_experts_stream(experts_stream(layer, choice)) ? choice.num_tokens : ~0u;
}

gpu::ExpertsStreamArgs GpuModel::experts_stream(const GpuLayer& layer,
                                                const gpu::ExpertChoice& choice) const {
  auto args = experts_in_one_launch<gpu::ExpertsStreamArgs>(layer, choice);
  args.x_stride = buffers_->normed_stride;
  args.lists = buffers_->lists;
  args.hidden_stride = buffers_->hidden_stride;
  args.products = buffers_->products;
  return args;
}

uint32_t* GpuModel::told_hidden() const {
  return reinterpret_cast<uint32_t*>(buffers_->hidden);
}

void GpuModel::route(const GpuLayer& layer, const gpu::ExpertChoice& choice,
                     uint32_t num_told_words) {
  Buffers& b = *buffers_;
  const gpu::RouteArgs route{.residual = b.residual,
                             .norm_weight = layer.post_attention_layernorm,
                             .eps = static_cast<float>(config_.rms_norm_eps),
                             .router = layer.router,
                             .hidden_size = static_cast<uint32_t>(config_.hidden_size),
                             .normed = b.normed,
                             .normed_stride = b.normed_stride,
                             .choice = choice,
                             .not_yet = told_hidden(),
                             .num_not_yet = num_told_words};
  if (choice.num_tokens <= gpu::kFewTokens) {
    kernels_.route(route);
  } else {
    // The experts' products are not there yet, and their memory is wide enough.
    const gpu::RouteManyArgs many{.route = route, .rows = b.products, .finished = b.route_finished};
    kernels_.route_norm(many);
    const plan::Range mine = ranks_.routed_tokens(choice.num_tokens);
    if (mine.size() > 0)
      kernels_.route_many(
          many.part(static_cast<uint32_t>(mine.begin), static_cast<uint32_t>(mine.size())));
    ranks_.gather_routed(reinterpret_cast<uint32_t*>(b.expert_ids), choice.num_tokens,
                         choice.num_experts_per_tok);
    ranks_.gather_routed(reinterpret_cast<uint32_t*>(b.expert_weights), choice.num_tokens,
                         choice.num_experts_per_tok);
  }
}

void GpuModel::experts_by_token(const GpuLayer& layer, const gpu::ExpertChoice& choice) {
  Buffers& b = *buffers_;
  const gpu::ExpertsUpArgs up{.w1 = layer.w1,
                              .w3 = layer.w3,
                              .expert_stride = weights_.up_stride,
                              .x = b.normed,
                              .x_stride = b.normed_stride,
                              .choice = choice,
                              .lists = b.lists,
                              .hidden = b.hidden,
                              .hidden_stride = b.hidden_stride};
  kernels_.experts_up(with_codebook(up), experts_here());
  const gpu::ExpertsDownArgs down{.w2 = layer.w2,
                                  .expert_stride = weights_.down_stride,
                                  .hidden = b.hidden,
                                  .hidden_stride = b.hidden_stride,
                                  .num_experts_per_tok = choice.num_experts_per_tok,
                                  .num_tokens = choice.num_tokens,
                                  .lists = b.lists,
                                  .products = b.products,
                                  .weights = b.expert_weights,
                                  .expert_ids = b.expert_ids,
                                  .num_experts = experts_here().here,
                                  .residual = b.residual,
                                  .add = adds_to_residual(),
                                  .finished = b.down_finished};
  kernels_.experts_down(with_codebook(down), experts_here());
}

void GpuModel::experts_by_tile(const GpuLayer& layer, const gpu::ExpertChoice& choice,
                               const gpu::TokenTiles& tiles) {
  Buffers& b = *buffers_;
  const uint32_t num_pairs = choice.num_tokens * choice.num_experts_per_tok;
  const gpu::ExpertsUpGemmArgs up{.w1 = layer.w1,
                                  .w3 = layer.w3,
                                  .expert_stride = weights_.up_stride,
                                  .x = b.normed,
                                  .x_stride = b.normed_stride,
                                  .num_experts_per_tok = choice.num_experts_per_tok,
                                  .lists = b.lists,
                                  .tiles = tiles,
                                  .hidden = b.hidden,
                                  .hidden_stride = b.hidden_stride};
  kernels_.experts_up_gemm(with_codebook(up), num_pairs, experts_here());
  const gpu::ExpertsDownGemmArgs down{.w2 = layer.w2,
                                      .expert_stride = weights_.down_stride,
                                      .hidden = b.hidden,
                                      .hidden_stride = b.hidden_stride,
                                      .lists = b.lists,
                                      .tiles = tiles,
                                      .products = b.products,
                                      .products_stride = layer.w2.rows};
  kernels_.experts_down_gemm(with_codebook(down), num_pairs, experts_here());
}

}  // namespace tetrad
