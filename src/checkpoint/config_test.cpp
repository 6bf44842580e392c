#include "checkpoint/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/quantization_config.h"
#include "checkpoint/shard_index.h"

namespace tetrad {
namespace {

using testing::HasSubstr;

/// The fields of the published M2.7 file (minimax-m2 spec, section 1).
json::object m2_7() {
  json::object config = parse_json(R"({
    "architectures": ["MiniMaxM2ForCausalLM"], "model_type": "minimax_m2",
    "torch_dtype": "bfloat16", "vocab_size": 200064, "hidden_size": 3072, "num_hidden_layers": 62,
    "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 1536, "num_local_experts": 256, "num_experts_per_tok": 8,
    "shared_intermediate_size": 0, "shared_moe_mode": "sigmoid", "scoring_func": "sigmoid",
    "use_routing_bias": true, "use_qk_norm": true, "qk_norm_type": "per_layer", "rotary_dim": 64,
    "rope_theta": 5000000, "hidden_act": "silu", "rms_norm_eps": 1e-6, "sliding_window": null,
    "max_position_embeddings": 204800, "tie_word_embeddings": false, "use_mtp": true,
    "num_mtp_modules": 3, "mtp_transformer_layers": 1, "bos_token_id": null, "use_cache": true,
    "quantization_config": {"quant_method": "fp8", "fmt": "float8_e4m3fn",
      "activation_scheme": "dynamic", "weight_block_size": [128, 128],
      "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"]}})")
                            ->as_object();
  config["attn_type_list"] = json::array(62, 1);
  return config;
}

TEST(ModelConfig, ReadsTheOriginalForm) {
  const auto config = ModelConfig::parse(m2_7());
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->vocab_size, 200064);
  EXPECT_EQ(config->hidden_size, 3072);
  EXPECT_EQ(config->num_hidden_layers, 62);
  EXPECT_EQ(config->num_attention_heads, 48);
  EXPECT_EQ(config->num_key_value_heads, 8);
  EXPECT_EQ(config->head_dim, 128);
  EXPECT_EQ(config->intermediate_size, 1536);
  EXPECT_EQ(config->num_local_experts, 256);
  EXPECT_EQ(config->num_experts_per_tok, 8);
  EXPECT_EQ(config->rotary_dim, 64);
  EXPECT_EQ(config->rope_theta, 5e6);
  EXPECT_EQ(config->rms_norm_eps, 1e-6);
  EXPECT_EQ(config->max_position_embeddings, 204800);
  EXPECT_EQ(config->num_mtp_modules, 3);
  EXPECT_EQ(config->q_size(), 6144);
  EXPECT_EQ(config->kv_size(), 1024);
  EXPECT_TRUE(config->raw.contains("quantization_config"));
}

TEST(ModelConfig, ReadsTheNewForm) {
  json::object object = m2_7();
  for (const char* old :
       {"rotary_dim", "rope_theta", "num_local_experts", "torch_dtype", "attn_type_list"})
    object.erase(object.find(old));
  object["model_type"] = "minimax";
  object["num_experts"] = 256;
  object["dtype"] = "bfloat16";
  object["layer_types"] = json::array(62, json::string("full_attention"));
  object["rope_parameters"] = {
      {"rope_type", "default"}, {"rope_theta", 5e6}, {"partial_rotary_factor", 0.5}};
  const auto config = ModelConfig::parse(object);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->rotary_dim, 64);
  EXPECT_EQ(config->rope_theta, 5e6);
  EXPECT_EQ(config->num_local_experts, 256);
}

TEST(ModelConfig, BothFormsAreWelcomeWhenTheyAgree) {
  json::object object = m2_7();
  object["num_experts"] = 256;
  object["dtype"] = "torch.bfloat16";
  object["partial_rotary_factor"] = 0.5;
  object["rope_parameters"] = {
      {"rope_type", "default"}, {"rope_theta", 5000000.0}, {"partial_rotary_factor", 0.5}};
  object["rope_scaling"] = nullptr;
  const auto config = ModelConfig::parse(object);
  EXPECT_TRUE(config) << config.error().message;
}

TEST(ModelConfig, NamesEachFieldThatIsMissing) {
  for (const char* field :
       {"model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "intermediate_size", "num_local_experts",
        "num_experts_per_tok", "rotary_dim", "rope_theta", "rms_norm_eps",
        "max_position_embeddings"}) {
    json::object without = m2_7();
    without.erase(without.find(field));
    json::object with_null = m2_7();
    with_null[field] = nullptr;
    for (const json::object& object : {without, with_null}) {
      const auto config = ModelConfig::parse(object);
      ASSERT_FALSE(config) << field;
      EXPECT_THAT(config.error().message, HasSubstr(std::string("\"") + field + "\" is missing"));
    }
  }
}

TEST(ModelConfig, NamesEachSizeThatIsAbsurd) {
  for (const char* field :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "intermediate_size", "num_local_experts",
        "num_experts_per_tok", "rotary_dim", "max_position_embeddings"}) {
    for (const json::value& bad :
         {json::value(0), json::value(-1), json::value(int64_t{1} << 31), json::value(UINT64_MAX),
          json::value(1.5), json::value(64.0), json::value("64"), json::value(true),
          json::value(json::array{64})}) {
      json::object object = m2_7();
      object[field] = bad;
      const auto config = ModelConfig::parse(object);
      ASSERT_FALSE(config) << field << bad;
      EXPECT_THAT(config.error().message, HasSubstr(std::string("\"") + field + "\""));
    }
  }
}

struct BadConfig {
  const char* field;
  json::value value;
  ErrorCode code;
  const char* said = "";
};

void PrintTo(const BadConfig& bad, std::ostream* out) {
  *out << bad.field << " = " << bad.value;
}

class ModelConfigBad : public testing::TestWithParam<BadConfig> {};

TEST_P(ModelConfigBad, IsRefusedByName) {
  const BadConfig& bad = GetParam();
  json::object object = m2_7();
  object[bad.field] = bad.value;
  const auto config = ModelConfig::parse(object);
  ASSERT_FALSE(config) << bad.field;
  EXPECT_EQ(config.error().code, bad.code) << config.error().message;
  EXPECT_THAT(config.error().message, HasSubstr(bad.field));
  EXPECT_THAT(config.error().message, HasSubstr(bad.said));
}

constexpr ErrorCode kUnsupported = ErrorCode::unsupported;
constexpr ErrorCode kCorrupt = ErrorCode::corrupt_data;

json::array one_linear_layer() {
  json::array list(62, 1);
  list[61] = 0;
  return list;
}

INSTANTIATE_TEST_SUITE_P(
    Architecture, ModelConfigBad,
    testing::Values(BadConfig{"model_type", "llama", kUnsupported, "llama"},
                    BadConfig{"model_type", 2, kCorrupt, "a string"},
                    BadConfig{"attn_type_list", one_linear_layer(), kUnsupported, "[61] is 0"},
                    BadConfig{"attn_type_list", json::array{1, 1}, kCorrupt, "2 entries"},
                    BadConfig{"attn_type_list", 1, kCorrupt, "an array"},
                    BadConfig{"layer_types", json::array(62, json::string("sliding_attention")),
                              kUnsupported, "sliding_attention"},
                    BadConfig{"qk_norm_type", "per_head", kUnsupported, "per_layer"},
                    BadConfig{"use_qk_norm", false, kUnsupported},
                    BadConfig{"use_routing_bias", false, kUnsupported},
                    BadConfig{"scoring_func", "softmax", kUnsupported, "sigmoid"},
                    BadConfig{"hidden_act", "gelu", kUnsupported, "silu"},
                    BadConfig{"shared_intermediate_size", 1024, kUnsupported, "1024"},
                    BadConfig{"tie_word_embeddings", true, kUnsupported},
                    BadConfig{"tie_word_embeddings", "no", kCorrupt, "true or false"},
                    BadConfig{"attention_bias", true, kUnsupported},
                    BadConfig{"sliding_window", 4096, kUnsupported, "4096"},
                    BadConfig{"torch_dtype", "int8", kUnsupported, "int8"},
                    BadConfig{"rope_scaling", json::object{{"type", "yarn"}, {"factor", 4}},
                              kUnsupported, "rope_scaling.type"},
                    BadConfig{"rope_parameters", json::object{{"rope_type", "llama3"}},
                              kUnsupported, "llama3"},
                    BadConfig{"rope_parameters", json::object{{"factor", 4.0}}, kUnsupported,
                              "rope_parameters.factor"},
                    BadConfig{"rope_parameters", json::array{}, kCorrupt, "an object"}));

INSTANTIATE_TEST_SUITE_P(
    Contradictions, ModelConfigBad,
    testing::Values(BadConfig{"num_experts", 128, kCorrupt, "num_local_experts"},
                    BadConfig{"dtype", "float16", kCorrupt, "torch_dtype"},
                    BadConfig{"partial_rotary_factor", 0.25, kCorrupt, "rotary_dim"},
                    BadConfig{"partial_rotary_factor", 0.3, kCorrupt, "whole number"},
                    BadConfig{"partial_rotary_factor", 1.5, kCorrupt},
                    BadConfig{"rope_parameters", json::object{{"rope_theta", 1e6}}, kCorrupt,
                              "rope_parameters.rope_theta"},
                    BadConfig{"rope_parameters", json::object{{"partial_rotary_factor", 1.0}},
                              kCorrupt, "rope_parameters.partial_rotary_factor"},
                    BadConfig{"num_attention_heads", 44, kCorrupt, "num_key_value_heads"},
                    BadConfig{"num_experts_per_tok", 257, kCorrupt, "num_local_experts"},
                    BadConfig{"head_dim", 100'000'000, kCorrupt, "num_attention_heads"},
                    BadConfig{"num_local_experts", 1'000'000, kCorrupt, "num_hidden_layers"},
                    BadConfig{"num_hidden_layers", 2'000'000'000, kCorrupt, "num_local_experts"},
                    BadConfig{"rotary_dim", 63, kCorrupt, "even"},
                    BadConfig{"rotary_dim", 130, kCorrupt, "head_dim"},
                    BadConfig{"rope_theta", 0, kCorrupt}, BadConfig{"rope_theta", -1.0, kCorrupt},
                    BadConfig{"rope_theta", "5e6", kCorrupt, "number"},
                    BadConfig{"rms_norm_eps", -1e-6, kCorrupt},
                    BadConfig{"rms_norm_eps", 2.0, kCorrupt}));

TEST(ModelConfig, MustBeAnObject) {
  EXPECT_FALSE(ModelConfig::parse(json::array{}));
  EXPECT_FALSE(ModelConfig::parse(nullptr));
}

Result<GenerationDefaults> generation(std::string_view text) {
  return GenerationDefaults::parse(*parse_json(text));
}

TEST(GenerationDefaults, ReadsNumbersAndLists) {
  const auto full = generation(
      R"({"temperature": 1, "top_p": 0.95, "top_k": 40, "min_p": 0.1, "eos_token_id": 200020})");
  ASSERT_TRUE(full) << full.error().message;
  EXPECT_EQ(full->temperature, 1.0);
  EXPECT_EQ(full->top_p, 0.95);
  EXPECT_EQ(full->top_k, 40);
  EXPECT_EQ(full->min_p, 0.1);
  EXPECT_EQ(full->eos_token_ids, std::vector<int32_t>{200020});

  const auto list = generation(R"({"eos_token_id": [3, 0], "top_p": null})");
  ASSERT_TRUE(list);
  EXPECT_EQ(list->eos_token_ids, (std::vector<int32_t>{3, 0}));
  EXPECT_FALSE(list->top_p);

  const auto empty = generation("{}");
  ASSERT_TRUE(empty);
  EXPECT_FALSE(empty->temperature || empty->top_p || empty->top_k || empty->min_p);
  EXPECT_TRUE(empty->eos_token_ids.empty());
}

TEST(GenerationDefaults, NamesTheFieldAtFault) {
  struct Case {
    const char* text;
    const char* field;
  };
  for (const Case& bad :
       {Case{R"({"temperature": "hot"})", "temperature"},
        Case{R"({"temperature": -1})", "temperature"}, Case{R"({"top_p": 1.5})", "top_p"},
        Case{R"({"top_k": 4.5})", "top_k"}, Case{R"({"top_k": -2})", "top_k"},
        Case{R"({"min_p": true})", "min_p"}, Case{R"({"eos_token_id": "</s>"})", "eos_token_id"},
        Case{R"({"eos_token_id": [1, "2"]})", "eos_token_id"},
        Case{R"({"eos_token_id": -1})", "eos_token_id"},
        Case{R"({"eos_token_id": 2.0})", "eos_token_id"},
        Case{R"({"eos_token_id": 4294967296})", "eos_token_id"},
        Case{R"({"eos_token_id": [[1]]})", "eos_token_id"}, Case{"[]", "object"}}) {
    const auto parsed = generation(bad.text);
    ASSERT_FALSE(parsed) << bad.text;
    EXPECT_THAT(parsed.error().message, HasSubstr(bad.field));
  }
}

Result<QuantizationConfig> quantization(std::string_view text) {
  return QuantizationConfig::parse(json::object{{"quantization_config", *parse_json(text)}});
}

TEST(QuantizationConfig, AbsentMeansNone) {
  EXPECT_EQ(QuantizationConfig::parse({})->quant_method, "");
  EXPECT_EQ(quantization("null")->quant_method, "");
  EXPECT_EQ(QuantizationConfig::parse(m2_7())->quant_method, "fp8");
}

TEST(QuantizationConfig, ComparesTheMethodWithoutCaseAndDashes) {
  for (const char* name : {"mxfp4_16", "MXFP4-16", "mxfp416", "Fp8", "compressed-tensors",
                           "modelopt", "QUARK", "rxf", "mxfp4"})
    EXPECT_TRUE(quantization(fmt::format(R"({{"quant_method": "{}"}})", name))) << name;
  EXPECT_EQ(quantization(R"({"quant_method": "MXFP4-16"})")->quant_method, "mxfp4_16");
  const auto unknown = quantization(R"({"quant_method": "awq"})");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::unsupported);
  EXPECT_THAT(unknown.error().message, HasSubstr("awq"));
  EXPECT_FALSE(quantization("{}"));
  EXPECT_FALSE(quantization("[]"));
  EXPECT_FALSE(quantization(R"({"quant_method": 8})"));
}

std::string with_codebook(std::string_view list) {
  return fmt::format(R"({{"quant_method": "mxfp4_16", "config_groups": {{"g": [{{"weights":
                       {{"codebook": {}}}}}]}}}})",
                     list);
}

TEST(QuantizationConfig, HonoursACodebookWhereverItIs) {
  EXPECT_EQ(quantization(R"({"quant_method": "mxfp4_16"})")->codebook, kIq4NlCodebook);
  const auto parsed =
      quantization(with_codebook("[-128,-102,-83,-66,-51,-36,-23,-9,4,18.0,32,46,62,80,100,127]"));
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->codebook,
            (Codebook{-128, -102, -83, -66, -51, -36, -23, -9, 4, 18, 32, 46, 62, 80, 100, 127}));
  for (const char* bad :
       {"[1]", "[]", "\"iq4_nl\"", "7", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0.5]",
        "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,128]", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,-129]",
        "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,null]", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1e99]"}) {
    const auto refused = quantization(with_codebook(bad));
    ASSERT_FALSE(refused) << bad;
    EXPECT_THAT(refused.error().message,
                HasSubstr("quantization_config.config_groups.g[0].weights.codebook"));
  }
}

TEST(QuantizationConfig, HonoursTheOrderOfNibbles) {
  EXPECT_EQ(quantization(R"({"quant_method": "mxfp4_16"})")->nibble_order, NibbleOrder::low_first);
  EXPECT_EQ(
      quantization(R"({"quant_method": "mxfp4_16", "nibble_order": "low_first"})")->nibble_order,
      NibbleOrder::low_first);
  EXPECT_EQ(
      quantization(R"({"quant_method": "mxfp4_16", "weights": {"nibble_order": "high_first"}})")
          ->nibble_order,
      NibbleOrder::high_first);
}

TEST(QuantizationConfig, RefusesTwoCodebooksThatDiffer) {
  const char* format = R"({{"quant_method": "mxfp4_16", "a": {{"codebook": {0}}},
                            "b": {{"codebook": {1}}}}})";
  const char* one = "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]";
  const char* two = "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]";
  EXPECT_TRUE(quantization(fmt::format(fmt::runtime(format), one, one)));
  EXPECT_FALSE(quantization(fmt::format(fmt::runtime(format), one, two)));
}

TEST(QuantizationConfig, RefusesWhatWouldBeReadWronglyInSilence) {
  struct Case {
    const char* member;
    bool refused;
  };
  for (const Case& c :
       {Case{R"("rotation": null)", false}, Case{R"("rotation": "hadamard64")", true},
        Case{R"("config_groups": {"g": {"weights": {"rotation": "givens32"}}})", true},
        Case{R"("nibble_order": "low_first")", false},
        Case{R"("nibble_order": "high_first")", false},
        Case{R"("nibble_order": "middle_first")", true}, Case{R"("nibble_order": 1)", true},
        Case{R"("a": {"nibble_order": "high_first"}, "nibble_order": "low_first")", true},
        Case{R"("transform_config": {})", false}, Case{R"("transform_config": null)", false},
        Case{R"("transform_config": {"config_groups": {}})", false},
        Case{R"("transform_config": {"config_groups": {"R1": {"type": "hadamard"}}})", true},
        Case{R"("weight_block_size": [128, 128])", false},
        Case{R"("weight_block_size": [64, 128])", true},
        Case{R"("weight_block_size": 128)", true}}) {
    const auto parsed = quantization(fmt::format(R"({{"quant_method": "fp8", {}}})", c.member));
    EXPECT_EQ(!parsed, c.refused) << c.member;
  }
}

TEST(QuantizationConfig, SaysWhetherTheKvCacheIsFp8) {
  struct Case {
    const char* member;
    bool fp8;
  };
  for (const Case& c :
       {Case{R"("kv_cache_scheme": null)", false}, Case{R"("kv_cache_scheme": "fp8")", false},
        Case{R"("kv_cache_scheme": {"num_bits": 8, "type": "float"})", true},
        Case{R"("kv_cache_scheme": {"num_bits": 8, "type": "int"})", false},
        Case{R"("kv_cache_scheme": {"num_bits": 4, "type": "float"})", false},
        Case{R"("kv_cache_quant_algo": "FP8")", true},
        Case{R"("kv_cache_quant_algo": "NVFP4")", false}}) {
    const auto parsed = quantization(fmt::format(R"({{"quant_method": "fp8", {}}})", c.member));
    ASSERT_TRUE(parsed) << c.member;
    EXPECT_EQ(parsed->fp8_kv_cache, c.fp8) << c.member;
  }
}

Result<ShardIndex> index_of(std::string_view text) {
  return parse_shard_index(*parse_json(text));
}

TEST(ShardIndex, ReadsTheWeightMap) {
  const auto index = index_of(
      R"({"metadata": {"total_size": 8}, "weight_map": {"a": "x-00000.safetensors", "b": "y"}})");
  ASSERT_TRUE(index);
  EXPECT_EQ(index->at("a"), "x-00000.safetensors");
  EXPECT_EQ(index->at("b"), "y");
}

TEST(ShardIndex, RefusesNamesThatLeaveTheFolder) {
  for (const char* name : {"../x.safetensors", "a/b", "/etc/passwd", "..", ".", "", "a\\\\b",
                           "x..safetensors", "a\\u0000b"}) {
    const auto index = index_of(fmt::format(R"({{"weight_map": {{"t": "{}"}}}})", name));
    ASSERT_FALSE(index) << name;
    EXPECT_THAT(index.error().message, HasSubstr("\"t\""));
  }
}

TEST(ShardIndex, RefusesOtherShapes) {
  for (const char* text : {"[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})",
                           R"({"weight_map": {"t": 1}})", R"({"weight_map": null})"})
    EXPECT_FALSE(index_of(text)) << text;
}

}  // namespace
}  // namespace tetrad
