#include "quant/quantized_config.h"

#include "checkpoint/weight.h"

namespace tetrad {
namespace {

constexpr const char* kFormat = "mxfp4_16-pack-quantized";

json::object weight_scheme() {
  return {{"num_bits", 4},
          {"type", "float"},
          {"group_size", kMxfp4GroupSize},
          {"symmetric", false},
          {"grid", "iq4_nl"},
          {"codebook", json::array(kIq4NlCodebook.begin(), kIq4NlCodebook.end())},
          {"scale_dtype", "torch.float16"},
          {"scale_encoding", "fp16_per_group"}};
}

json::value kv_cache_scheme(bool has_kv_scales) {
  if (!has_kv_scales) return nullptr;
  return {{"num_bits", 8},
          {"type", "float"},
          {"strategy", "tensor"},
          {"dynamic", false},
          {"symmetric", true}};
}

}  // namespace

json::object quantized_config(const json::object& source_config, bool has_kv_scales) {
  const json::object group = {{"targets", json::array{"Linear"}},
                              {"format", kFormat},
                              {"input_activations", nullptr},
                              {"output_activations", nullptr},
                              {"weights", weight_scheme()}};
  json::object config = source_config;
  config["quantization_config"] = {
      {"quant_method", "mxfp4_16"},
      {"format", kFormat},
      {"quantization_status", "compressed"},
      {"config_groups", {{"group_0", group}}},
      {"kv_cache_scheme", kv_cache_scheme(has_kv_scales)},
      // The linear layers that stay as they are, and the embedding, which other programs count
      // among them.
      {"ignore", json::array{"lm_head", "re:.*embed_tokens.*", "re:.*block_sparse_moe\\.gate$"}}};
  return config;
}

}  // namespace tetrad
