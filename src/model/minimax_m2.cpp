#include "model/minimax_m2.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "model/rank_weights.h"
#include "model/workspace.h"
#include "plan/planned_model.h"

namespace tetrad {

/// The activations of one step; T is the number of tokens in the batch. Sizes are this rank's.
struct MiniMaxM2::Workspace {
  Workspace(const ModelConfig& config, int64_t vocab_size)
      : num_experts_per_tok(config.num_experts_per_tok),
        residual_buffer(config.hidden_size),
        normed_buffer(config.hidden_size),
        delta_buffer(config.hidden_size),
        q_buffer(config.q_size()),
        k_buffer(config.kv_size()),
        v_buffer(config.kv_size()),
        attended_buffer(config.q_size()),
        router_logits_buffer(config.num_local_experts),
        logits_buffer(vocab_size) {}

  void resize(int64_t num_tokens, int64_t num_logits) {
    residual = residual_buffer.rows(num_tokens);
    normed = normed_buffer.rows(num_tokens);
    delta = delta_buffer.rows(num_tokens);
    q = q_buffer.rows(num_tokens);
    k = k_buffer.rows(num_tokens);
    v = v_buffer.rows(num_tokens);
    attended = attended_buffer.rows(num_tokens);
    router_logits = router_logits_buffer.rows(num_tokens);
    logits = logits_buffer.rows(num_logits);
    const auto choices = static_cast<size_t>(num_tokens * num_experts_per_tok);
    expert_ids.resize(choices);
    expert_weights.resize(choices);
  }

  Routing routing() {
    return {.expert_ids = expert_ids,
            .weights = expert_weights,
            .num_experts_per_tok = num_experts_per_tok};
  }

  Activations residual;               // [T, hidden_size]: x of the paper
  Activations normed;                 // [T, hidden_size]: input of a sub-layer
  Activations delta;                  // [T, hidden_size]: output of a sub-layer
  Activations q;                      // [T, q_size]
  Activations k, v;                   // [T, kv_size]
  Activations attended;               // [T, q_size]
  Activations router_logits;          // [T, num_local_experts]
  Activations logits;                 // [logits_rows, vocab_size]
  std::vector<int32_t> expert_ids;    // [T, num_experts_per_tok]
  std::vector<float> expert_weights;  // [T, num_experts_per_tok]

 private:
  int64_t num_experts_per_tok;
  ActivationBuffer residual_buffer, normed_buffer, delta_buffer, q_buffer, k_buffer, v_buffer,
      attended_buffer, router_logits_buffer, logits_buffer;
};

namespace {

void observe(const Observer* observer, std::string_view name, int64_t layer, Activations tensor) {
  if (observer != nullptr) (*observer)(name, layer, tensor);
}

/// Moves the wanted rows to the front of `x`; `rows` ascends, so nothing is overwritten before use.
Activations keep_rows(Activations x, std::span<const int32_t> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    std::memmove(x.row(static_cast<int64_t>(i)), x.row(rows[i]),
                 static_cast<size_t>(x.cols) * sizeof(float));
  }
  return {x.data, static_cast<int64_t>(rows.size()), x.cols};
}

}  // namespace

Result<std::unique_ptr<MiniMaxM2>> MiniMaxM2::load(std::shared_ptr<const Checkpoint> checkpoint,
                                                   std::shared_ptr<Kernels> kernels) {
  TETRAD_ASSIGN(MiniMaxM2Weights weights, MiniMaxM2Weights::load(*checkpoint));
  return std::make_unique<MiniMaxM2>(checkpoint->config(), std::move(weights),
                                     std::move(checkpoint), std::move(kernels));
}

Result<std::unique_ptr<MiniMaxM2>> MiniMaxM2::load(std::shared_ptr<const Checkpoint> checkpoint,
                                                   std::shared_ptr<Kernels> kernels,
                                                   plan::Layout layout,
                                                   std::shared_ptr<parallel::Communicator> ranks) {
  const ModelConfig& config = checkpoint->config();
  TETRAD_ASSIGN(const plan::PlannedModel planned, plan::planned_model(*checkpoint));
  TETRAD_TRY(plan::check_layout(planned, layout));
  TETRAD_ASSIGN(RankGroup group, RankGroup::join(config, layout, std::move(ranks)));
  // Views, which read nothing but the norms.
  TETRAD_ASSIGN(const MiniMaxM2Weights whole, MiniMaxM2Weights::load(*checkpoint));
  TETRAD_ASSIGN(MiniMaxM2Weights weights,
                share_weights(whole, config, group.share(),
                              [&](std::span<const std::byte> part) { checkpoint->release(part); }));
  return std::make_unique<MiniMaxM2>(config, std::move(weights), std::move(checkpoint),
                                     std::move(kernels), std::move(group));
}

MiniMaxM2::MiniMaxM2(const ModelConfig& config, MiniMaxM2Weights weights,
                     std::shared_ptr<const void> owner, std::shared_ptr<Kernels> kernels)
    : MiniMaxM2(config, std::move(weights), std::move(owner), std::move(kernels),
                RankGroup(config)) {}

MiniMaxM2::MiniMaxM2(ModelConfig config, MiniMaxM2Weights weights,
                     std::shared_ptr<const void> owner, std::shared_ptr<Kernels> kernels,
                     RankGroup ranks)
    : ranks_(std::move(ranks)),
      config_(std::move(config)),
      local_config_(ranks_.share().local_config(config_)),
      weights_(std::move(weights)),
      owner_(std::move(owner)),
      kernels_(std::move(kernels)),
      workspace_(std::make_unique<Workspace>(local_config_, ranks_.share().vocabulary.size())) {}

MiniMaxM2::~MiniMaxM2() = default;

Result<Activations> MiniMaxM2::forward(const Batch& batch, const KvCache& cache,
                                       const Observer* observer) {
  TETRAD_ASSIGN(const Activations logits, local_logits(batch, cache, observer));
  return ranks_.gather_logits(logits);
}

Result<std::span<const LikelyToken>> MiniMaxM2::forward_top(const Batch& batch,
                                                            const KvCache& cache, int64_t count) {
  TETRAD_ASSIGN(const Activations logits, local_logits(batch, cache, nullptr));
  return ranks_.gather_top(logits, count);
}

Result<Activations> MiniMaxM2::local_logits(const Batch& batch, const KvCache& cache,
                                            const Observer* observer) {
  Workspace& ws = *workspace_;
  Kernels& ops = *kernels_;
  const auto eps = static_cast<float>(config().rms_norm_eps);
  ws.resize(batch.num_tokens(), static_cast<int64_t>(batch.logits_rows.size()));

  TETRAD_TRY(embed(batch.token_ids, ws.residual));
  observe(observer, "embed", -1, ws.residual);

  for (int64_t index = 0; index < config().num_hidden_layers; ++index)
    TETRAD_TRY(decoder_layer(index, batch, cache.layer(index), observer));

  const Activations last = keep_rows(ws.residual, batch.logits_rows);
  const Activations final_norm{ws.normed.data, last.rows, last.cols};
  ops.rms_norm(last, weights_.norm, eps, final_norm);
  observe(observer, "final_norm", -1, final_norm);
  ops.linear(weights_.lm_head, final_norm, ws.logits);
  return ws.logits;
}

Result<void> MiniMaxM2::embed(std::span<const int32_t> token_ids, Activations residual) {
  return ranks_.embed(*kernels_, weights_.embed_tokens, token_ids, residual);
}

Result<void> MiniMaxM2::layer(int64_t index, const Batch& batch, const KvCacheLayer& cache,
                              Activations residual, const Observer* observer) {
  workspace_->resize(batch.num_tokens(), 0);
  workspace_->residual = residual;
  return decoder_layer(index, batch, cache, observer);
}

/// residual += attention(norm(residual)); residual += experts(norm(residual)).
Result<void> MiniMaxM2::decoder_layer(int64_t index, const Batch& batch, const KvCacheLayer& cache,
                                      const Observer* observer) {
  Workspace& ws = *workspace_;
  Kernels& ops = *kernels_;
  const auto eps = static_cast<float>(config().rms_norm_eps);
  const MiniMaxM2Layer& layer = weights_.layers[static_cast<size_t>(index)];

  ops.rms_norm(ws.residual, layer.input_layernorm, eps, ws.normed);
  observe(observer, "attn_in", index, ws.normed);
  TETRAD_TRY(attention(layer, index, batch, cache, observer));
  observe(observer, "attn_out", index, ws.delta);
  ops.add(ws.residual, ws.delta);

  ops.rms_norm(ws.residual, layer.post_attention_layernorm, eps, ws.normed);
  observe(observer, "moe_in", index, ws.normed);
  TETRAD_TRY(mixture_of_experts(layer, index, observer));
  observe(observer, "moe_out", index, ws.delta);
  ops.add(ws.residual, ws.delta);
  observe(observer, "out", index, ws.residual);
  return {};
}

/// delta = Wo · attention(rope(q_norm(Wq h)), rope(k_norm(Wk h)), Wv h), h = normed.
Result<void> MiniMaxM2::attention(const MiniMaxM2Layer& layer, int64_t index, const Batch& batch,
                                  const KvCacheLayer& cache, const Observer* observer) {
  Workspace& ws = *workspace_;
  Kernels& ops = *kernels_;
  const auto eps = static_cast<float>(config().rms_norm_eps);
  const RopeParameters rope{.head_dim = config().head_dim,
                            .rotary_dim = config().rotary_dim,
                            .theta = config().rope_theta};

  const Projection projections[] = {
      {&layer.q_proj, ws.q}, {&layer.k_proj, ws.k}, {&layer.v_proj, ws.v}};
  ops.linear(ws.normed, projections);

  // One mean over all heads together, other ranks' too, before they are split.
  TETRAD_TRY(ranks_.qk_norm(ops, ws.q, layer.q_norm, ws.k, layer.k_norm, eps));
  ops.rope(ws.q, batch.positions, rope);
  ops.rope(ws.k, batch.positions, rope);
  observe(observer, "k", index, ws.k);
  observe(observer, "v", index, ws.v);

  ops.write_kv(ws.k, ws.v, batch.slot_mapping, cache);
  ops.attention(ws.q, batch, cache, ws.attended);
  observe(observer, "attended", index, ws.attended);
  ops.linear(layer.o_proj, ws.attended, ws.delta);
  return ranks_.sum(ws.delta);
}

/// delta = Σ weight_e · w2_e (silu(w1_e h) ⊙ w3_e h) over the chosen experts e, h = normed.
/// The router is on every rank, whose choices are the same.
Result<void> MiniMaxM2::mixture_of_experts(const MiniMaxM2Layer& layer, int64_t index,
                                           const Observer* observer) {
  Workspace& ws = *workspace_;
  Kernels& ops = *kernels_;

  ops.linear(layer.router, ws.normed, ws.router_logits);
  observe(observer, "router_logits", index, ws.router_logits);
  const Routing routing = ws.routing();
  ops.route(ws.router_logits, layer.routing_bias, routing);
  if (observer != nullptr) {
    std::vector<float> ids(routing.expert_ids.begin(), routing.expert_ids.end());
    observe(observer, "router_index", index,
            {ids.data(), ws.normed.rows, routing.num_experts_per_tok});
    observe(observer, "router_weights", index,
            {routing.weights.data(), ws.normed.rows, routing.num_experts_per_tok});
  }
  ranks_.experts(ops, ws.normed, layer.experts(), routing, ws.delta);
  return ranks_.sum(ws.delta);
}

}  // namespace tetrad
