#include "model/rank_agreement.h"

#include <fmt/ranges.h>

#include <string>

#include "base/digest.h"
#include "parallel/agreement.h"

namespace tetrad {
namespace {

std::string tensors_digest(const Checkpoint& checkpoint) {
  Digest digest;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    digest.add(
        fmt::format("{} {} {}\n", name, dtype_name(tensor.dtype), fmt::join(tensor.shape, " ")));
  }
  return digest.finish();
}

/// Of what every rank has whole.
std::string norms_digest(const MiniMaxM2Weights& weights) {
  Digest digest;
  const auto add = [&](const std::vector<float>& values) {
    digest.add(std::as_bytes(std::span(values)));
  };
  add(weights.norm);
  for (const MiniMaxM2Layer& layer : weights.layers) {
    add(layer.input_layernorm);
    add(layer.post_attention_layernorm);
    add(layer.routing_bias);
  }
  return digest.finish();
}

std::string scales_text(const KvCacheFormat& kv_cache) {
  std::string text;
  for (const KvScales& scales : kv_cache.scales)
    text += fmt::format("{} {} ", scales.k, scales.v);
  return text;
}

}  // namespace

Result<void> agree_on_model(parallel::Communicator& ranks, const RankIdentity& mine) {
  const parallel::AgreedValue values[] = {
      {"the version of tetrad", TETRAD_VERSION},
      {"--tensor-parallel-size", fmt::format("{}", mine.layout.tensor_parallel)},
      {"--enable-expert-parallel", mine.layout.expert_parallel ? "it" : "not"},
      {"the model's config.json", digest_of(to_json_text(mine.checkpoint.config().raw))},
      {"the tensors of the checkpoint", tensors_digest(mine.checkpoint)},
      {"the norms of the checkpoint", norms_digest(mine.weights)},
      // Each rank routes tokens by itself, and all must choose the same experts.
      {"the kernels (--device, --kernels, --dtype)", mine.arithmetic},
      {"--transport", mine.transport},
      {"--kv-cache-dtype", std::string(dtype_name(mine.kv_cache.dtype))},
      {"the scales of the KV cache", scales_text(mine.kv_cache)}};
  return parallel::agree(ranks, values);
}

}  // namespace tetrad
