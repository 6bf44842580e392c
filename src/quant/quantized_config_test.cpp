#include "quant/quantized_config.h"

#include <gtest/gtest.h>

#include "quant/pretty_json.h"

namespace tetrad {
namespace {

json::object parsed(std::string_view text) {
  return parse_json(text).value().get_object();
}

TEST(QuantizedConfig, SaysWhatTheFormatAsksFor) {
  const json::object config = quantized_config(parsed(R"({"hidden_size": 384})"), {});
  // mxfp4_16 spec, section 4.1.
  EXPECT_EQ(config.at("quantization_config"), parse_json(R"({
    "quant_method": "mxfp4_16",
    "format": "mxfp4_16-pack-quantized",
    "quantization_status": "compressed",
    "config_groups": {"group_0": {
        "targets": ["Linear"], "format": "mxfp4_16-pack-quantized",
        "input_activations": null, "output_activations": null,
        "weights": {"num_bits": 4, "type": "float", "group_size": 16, "symmetric": false,
                    "grid": "iq4_nl", "codebook": [-127, -104, -83, -65, -49, -35, -22, -10,
                                                   1, 13, 25, 38, 53, 69, 89, 113],
                    "scale_dtype": "torch.float16", "scale_encoding": "fp16_per_group"}}},
    "kv_cache_scheme": null,
    "ignore": ["lm_head", "re:.*embed_tokens.*", "re:.*block_sparse_moe\\.gate$"]
  })")
                                                  .value());
}

TEST(QuantizedConfig, KeepsTheRestInItsOrder) {
  const json::object source = parsed(R"({"model_type": "minimax_m2",
      "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
      "rope_theta": 5000000, "pad_token_id": null})");
  json::object config = quantized_config(source, {});
  EXPECT_FALSE(config["quantization_config"].get_object().contains("weight_block_size"));
  config["quantization_config"] = source.at("quantization_config");
  EXPECT_EQ(to_json_text(config), to_json_text(source));
}

TEST(QuantizedConfig, TellsOfKvScales) {
  const json::object config = quantized_config({}, {.has_kv_scales = true});
  EXPECT_EQ(config.at("quantization_config").at("kv_cache_scheme"),
            parse_json(R"({"num_bits": 8, "type": "float", "strategy": "tensor",
                           "dynamic": false, "symmetric": true})")
                .value());
}

TEST(QuantizedConfig, NamesTheFormatsOfCompressedTensors) {
  for (const bool nvfp4 : {false, true}) {
    const json::object config = quantized_config(
        {}, {.format = nvfp4 ? TargetFormat::nvfp4 : TargetFormat::mxfp4, .has_kv_scales = true});
    const json::value& quantization = config.at("quantization_config");
    EXPECT_EQ(quantization.at("quant_method"), "compressed-tensors");
    EXPECT_EQ(quantization.at("format"), nvfp4 ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized");
    EXPECT_EQ(quantization.at("quantization_status"), "compressed");
    EXPECT_EQ(quantization.at("kv_cache_scheme").at("num_bits"), 8);
    const json::value& weights = quantization.at("config_groups").at("group_0").at("weights");
    EXPECT_EQ(weights.at("group_size"), nvfp4 ? 16 : 32);
    EXPECT_EQ(weights.at("strategy"), nvfp4 ? "tensor_group" : "group");
    EXPECT_EQ(weights.at("type"), "float");
  }
}

TEST(QuantizedConfig, NamesTheBlocksOfFp8) {
  const json::object config = quantized_config({}, {.format = TargetFormat::fp8_block});
  EXPECT_EQ(config.at("quantization_config"), parse_json(R"({
    "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
    "weight_block_size": [128, 128],
    "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"]})")
                                                  .value());
}

TEST(QuantizedConfig, IsThatOfADenseModelForBf16) {
  const json::object config = quantized_config(
      parsed(R"({"torch_dtype": "float32", "quantization_config": {"quant_method": "fp8"},
                 "hidden_size": 4})"),
      {.format = TargetFormat::bf16});
  EXPECT_EQ(to_json_text(config), R"({"torch_dtype":"bfloat16","hidden_size":4})");
}

TEST(QuantizedConfig, ListsWhatIsKept) {
  const std::vector<std::string> kept = {"model.layers.0.self_attn.q_proj"};
  const json::object packed = quantized_config({}, {.kept_modules = kept});
  EXPECT_EQ(packed.at("quantization_config").at("ignore").get_array().back(),
            json::string(kept[0]));
  const json::object fp8 =
      quantized_config({}, {.format = TargetFormat::fp8_block, .kept_modules = kept});
  EXPECT_EQ(fp8.at("quantization_config").at("modules_to_not_convert").get_array().back(),
            json::string(kept[0]));
}

TEST(PrettyJson, IsReadableAndMeansTheSame) {
  const json::value value =
      parse_json(
          R"({"a": {"b\n": [1, 2.5, 5000000.0, 1e-06, null, "x"], "e": {}, "f": []}, "c": [{"d": true}, [1]]})")
          .value();
  const std::string text = to_pretty_json(value);
  EXPECT_EQ(text, R"({
  "a": {
    "b\n": [1, 2.5, 5000000.0, 1e-06, null, "x"],
    "e": {},
    "f": []
  },
  "c": [
    {
      "d": true
    },
    [1]
  ]
}
)");
  EXPECT_EQ(parse_json(text).value(), value);
}

}  // namespace
}  // namespace tetrad
