#include "quant/quantized_config.h"

#include <utility>

#include "checkpoint/weight.h"

namespace tetrad {
namespace {

json::object weight_scheme(TargetFormat format) {
  if (format == TargetFormat::mxfp4_16) {
    return {{"num_bits", 4},
            {"type", "float"},
            {"group_size", kMxfp4GroupSize},
            {"symmetric", false},
            {"grid", "iq4_nl"},
            {"codebook", json::array(kIq4NlCodebook.begin(), kIq4NlCodebook.end())},
            {"scale_dtype", "torch.float16"},
            {"scale_encoding", "fp16_per_group"}};
  }
  const bool nvfp4 = format == TargetFormat::nvfp4;
  return {{"num_bits", 4},
          {"type", "float"},
          {"strategy", nvfp4 ? "tensor_group" : "group"},
          {"group_size", channels_of_a_scale(format)},
          {"symmetric", true},
          {"dynamic", false},
          {"scale_dtype", nvfp4 ? "torch.float8_e4m3fn" : "torch.uint8"}};
}

json::value kv_cache_scheme(bool has_kv_scales) {
  if (!has_kv_scales) return nullptr;
  return {{"num_bits", 8},
          {"type", "float"},
          {"strategy", "tensor"},
          {"dynamic", false},
          {"symmetric", true}};
}

json::object packed_config(const QuantizedConfigOptions& options) {
  const std::string name = fmt::format("{}-pack-quantized", target_format_name(options.format));
  const json::object group = {{"targets", json::array{"Linear"}},
                              {"format", name},
                              {"input_activations", nullptr},
                              {"output_activations", nullptr},
                              {"weights", weight_scheme(options.format)}};
  // The linear layers that stay as they are, and the embedding, which other programs count among
  // them.
  json::array ignore = {"lm_head", "re:.*embed_tokens.*", "re:.*block_sparse_moe\\.gate$"};
  ignore.insert(ignore.end(), options.kept_modules.begin(), options.kept_modules.end());
  const bool own = options.format == TargetFormat::mxfp4_16;
  return {{"quant_method", own ? "mxfp4_16" : "compressed-tensors"},
          {"format", name},
          {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", group}}},
          {"kv_cache_scheme", kv_cache_scheme(options.has_kv_scales)},
          {"ignore", std::move(ignore)}};
}

json::object fp8_config(const QuantizedConfigOptions& options) {
  // As in the released checkpoints, where "gate" means every module of that name.
  json::array dense = {"gate", "e_score_correction_bias", "lm_head"};
  dense.insert(dense.end(), options.kept_modules.begin(), options.kept_modules.end());
  return {{"quant_method", "fp8"},
          {"fmt", "e4m3"},
          {"activation_scheme", "dynamic"},
          {"weight_block_size", json::array{kFp8BlockSize, kFp8BlockSize}},
          {"modules_to_not_convert", std::move(dense)}};
}

}  // namespace

json::object quantized_config(const json::object& source_config,
                              const QuantizedConfigOptions& options) {
  json::object config = source_config;
  switch (options.format) {
    case TargetFormat::mxfp4_16:
    case TargetFormat::mxfp4:
    case TargetFormat::nvfp4:
      config["quantization_config"] = packed_config(options);
      break;
    case TargetFormat::fp8_block:
      config["quantization_config"] = fp8_config(options);
      break;
    case TargetFormat::bf16:
      config.stable_erase("quantization_config");
      for (const char* key : {"dtype", "torch_dtype"}) {
        if (config.contains(key)) config[key] = "bfloat16";
      }
      break;
  }
  return config;
}

}  // namespace tetrad
