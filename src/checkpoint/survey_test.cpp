#include "checkpoint/survey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "checkpoint/architecture.h"
#include "checkpoint/tiny_checkpoint_for_tests.h"

namespace tetrad {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using Tensor = TinyCheckpoint::Tensor;

TEST(ExpectedTensors, AreExactlyThoseOfTheModel) {
  const TinyCheckpoint tiny;
  const auto config = ModelConfig::parse(tiny.config);
  ASSERT_TRUE(config);
  std::set<std::string> names;
  for (const ExpectedTensor& expected : expected_tensors(*config)) {
    const std::string name = expected.is_matrix() ? expected.name + ".weight" : expected.name;
    ASSERT_TRUE(tiny.tensors.contains(name)) << name;
    const std::vector<int64_t>& shape = tiny.tensors.at(name).shape;
    EXPECT_EQ(shape, expected.is_matrix() ? (std::vector<int64_t>{expected.rows, expected.cols})
                                          : std::vector<int64_t>{expected.rows});
    EXPECT_EQ(expected.layer, name.starts_with("model.layers.0.") ? 0 : -1) << name;
    EXPECT_EQ(expected.expert >= 0, name.find("experts") != std::string::npos) << name;
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_EQ(names.size(), tiny.tensors.size());
}

/// minimax-m2 spec, sections 1.1 and 2.2: the published M2.7.
TEST(ExpectedTensors, CountTheParametersOfM27) {
  ModelConfig config;
  config.vocab_size = 200064;
  config.hidden_size = 3072;
  config.num_hidden_layers = 62;
  config.num_attention_heads = 48;
  config.num_key_value_heads = 8;
  config.head_dim = 128;
  config.intermediate_size = 1536;
  config.num_local_experts = 256;
  int64_t parameters = 0;
  int64_t tensors = 0;
  for (const ExpectedTensor& expected : expected_tensors(config)) {
    parameters += expected.rows * expected.cols;
    const bool has_scale = expected.role == TensorRole::attention_projection ||
                           expected.role == TensorRole::expert_w1 ||
                           expected.role == TensorRole::expert_w2 ||
                           expected.role == TensorRole::expert_w3;
    tensors += has_scale ? 2 : 1;
  }
  EXPECT_EQ(parameters, 228'689'764'864);
  EXPECT_EQ(tensors, 96'103);
}

TEST(TensorNames, KnowsMtpLayers) {
  ModelConfig config;
  config.num_hidden_layers = 62;
  config.num_mtp_modules = 3;
  EXPECT_FALSE(is_mtp_tensor("model.layers.61.input_layernorm.weight", config));
  EXPECT_TRUE(is_mtp_tensor("model.layers.62.input_layernorm.weight", config));
  EXPECT_TRUE(is_mtp_tensor("model.layers.64.x", config));
  EXPECT_FALSE(is_mtp_tensor("model.layers.65.x", config));
  EXPECT_FALSE(is_mtp_tensor("model.layers.63", config));
  EXPECT_FALSE(is_mtp_tensor("model.layers.-63.x", config));
  EXPECT_FALSE(is_mtp_tensor("model.layers.99999999999999999999.x", config));
  EXPECT_FALSE(is_mtp_tensor("model.norm.weight", config));
}

TEST(TensorNames, KnowsEverySpellingOfAKvScale) {
  struct Case {
    const char* suffix;
    KvScaleKind kind;
  };
  for (const Case& c :
       {Case{"k_scale", KvScaleKind::key}, Case{"v_scale", KvScaleKind::value},
        Case{"attn.k_scale", KvScaleKind::key}, Case{"attn.v_scale", KvScaleKind::value},
        Case{"k_proj.k_scale", KvScaleKind::key}, Case{"v_proj.v_scale", KvScaleKind::value},
        Case{"k_proj.output_scale", KvScaleKind::key},
        Case{"v_proj.output_scale", KvScaleKind::value}, Case{"kv_scale", KvScaleKind::both},
        Case{"q_scale", KvScaleKind::other}, Case{"prob_scale", KvScaleKind::other}}) {
    const auto parsed = parse_kv_scale_name(std::string("model.layers.12.self_attn.") + c.suffix);
    ASSERT_TRUE(parsed) << c.suffix;
    EXPECT_EQ(parsed->layer, 12);
    EXPECT_EQ(parsed->kind, c.kind);
  }
  for (const char* other :
       {"model.layers.12.self_attn.q_proj.weight_scale", "model.layers.12.k_scale", "k_scale",
        "model.layers.x.self_attn.k_scale", "model.layers.12self_attn.k_scale"})
    EXPECT_FALSE(parse_kv_scale_name(other)) << other;
}

class SurveyTest : public testing::Test {
 protected:
  SurveyTest() : folder_(folder_of_this_test()) {}
  ~SurveyTest() override { std::filesystem::remove_all(folder_); }

  Survey look() const {
    tiny_.write(folder_);
    const auto checkpoint = Checkpoint::open(folder_);
    if (!checkpoint) {
      ADD_FAILURE() << checkpoint.error().message;
      return {};
    }
    return survey(*checkpoint);
  }

  static std::vector<std::string> texts(const Survey& survey) {
    std::vector<std::string> result;
    for (const Finding& finding : survey.findings) {
      result.push_back((finding.severity == Severity::error ? "error: " : "warning: ") +
                       finding.text);
    }
    return result;
  }

  TinyCheckpoint tiny_;
  const std::filesystem::path folder_;
};

const std::string kQProj = "model.layers.0.self_attn.q_proj";
const std::string kK = "model.layers.0.self_attn.k_proj";

TEST_F(SurveyTest, CountsAWholeCheckpoint) {
  const Survey found = look();
  EXPECT_THAT(texts(found), ElementsAre());
  ASSERT_EQ(found.matrices.size(), 1u);
  const SizeTotals& dense = found.matrices.at(WeightFormat::bf16);
  // embedding and head 2 x 8 x 32, q and o 2 x 32 x 32, k and v 2 x 16 x 32, router 2 x 32,
  // experts 2 x 3 x 16 x 32
  EXPECT_EQ(dense.count, 13);
  EXPECT_EQ(dense.parameters, 512 + 2048 + 1024 + 64 + 3072);
  EXPECT_EQ(dense.bytes, 2 * dense.parameters);
  EXPECT_EQ(dense.bits_per_weight(), 16.0);
  EXPECT_EQ(found.vectors.count, 6);
  EXPECT_EQ(found.vectors.parameters, 32 + 32 + 32 + 32 + 16 + 2);
  EXPECT_EQ(found.vectors.bytes, 2 * 144 + 4 * 2);
  EXPECT_EQ(found.total.parameters, dense.parameters + found.vectors.parameters);
  EXPECT_EQ(found.total.bytes, dense.bytes + found.vectors.bytes);
  EXPECT_EQ(found.layers_with_k_scale, 0);
  EXPECT_EQ(found.num_errors + found.num_warnings, 0);
}

TEST_F(SurveyTest, CountsTheKindsOfScales) {
  // 64 groups: 16 each of 1, -2^-24 (subnormal), 0, -1.
  tiny_.tensors.erase(kQProj + ".weight");
  tiny_.add_zeros(kQProj + ".weight_packed", DType::u8, {32, 16});
  tiny_.add_zeros(kQProj + ".weight_scale", DType::f16, {32, 2});
  std::string& scales = tiny_.tensors[kQProj + ".weight_scale"].bytes;
  scales.clear();
  for (int i = 0; i < 16; ++i)
    scales += std::string("\x00\x3C\x01\x80\x00\x80\x00\xBC", 8);
  const Survey found = look();
  EXPECT_THAT(texts(found), ElementsAre());
  EXPECT_EQ(found.matrices.at(WeightFormat::mxfp4_16).bits_per_weight(), 5.0);
  const ScaleStatistics& statistics = found.scales.at(WeightFormat::mxfp4_16);
  EXPECT_EQ(statistics.count, 64);
  EXPECT_EQ(statistics.negative, 32);
  EXPECT_EQ(statistics.subnormal, 16);
  EXPECT_EQ(statistics.zero, 16);
  EXPECT_EQ(statistics.not_finite, 0);

  scales.replace(4, 2, std::string("\x00\x7C", 2));   // infinity
  scales.replace(10, 2, std::string("\x01\xFE", 2));  // NaN
  const Survey damaged = look();
  EXPECT_THAT(texts(damaged), ElementsAre(AllOf(HasSubstr("error: module \"" + kQProj),
                                                HasSubstr("2 of its 64 scales are NaN"))));
  EXPECT_EQ(damaged.num_errors, 1);
}

TEST_F(SurveyTest, ChecksFp8Scales) {
  tiny_.add_zeros(kQProj + ".weight", DType::f8_e4m3, {32, 32});
  tiny_.tensors[kQProj + ".weight_scale_inv"] =
      TinyCheckpoint::filled(DType::f32, {1, 1}, std::string_view("\x00\x00\x80\xBF", 4));
  const Survey negative = look();
  EXPECT_THAT(texts(negative), ElementsAre(AllOf(HasSubstr("warning"), HasSubstr("negative"))));
  EXPECT_EQ(negative.scales.at(WeightFormat::fp8_block).negative, 1);
  tiny_.tensors[kQProj + ".weight_scale_inv"] =
      TinyCheckpoint::filled(DType::f32, {1, 1}, std::string_view("\x00\x00\x80\x7F", 4));
  EXPECT_THAT(texts(look()), ElementsAre(AllOf(HasSubstr("error"), HasSubstr("infinite"))));
}

TEST_F(SurveyTest, ReadsScalesOfEveryDtype) {
  const auto put = [&](DType packed, int64_t bytes, const Tensor& scale) {
    tiny_.tensors.erase(kQProj + ".weight");
    tiny_.add_zeros(kQProj + ".weight_packed", packed,
                    {32, bytes / static_cast<int64_t>(dtype_size(packed))});
    tiny_.tensors[kQProj + ".weight_scale"] = scale;
  };
  // MXFP4: 31 scales of 2^-127, which is not one short of bits, and a NaN.
  Tensor scale = TinyCheckpoint::filled(DType::u8, {32, 1}, std::string_view("\0", 1));
  put(DType::u8, 16, scale);
  const Survey mxfp4 = look();
  EXPECT_THAT(texts(mxfp4), ElementsAre());
  EXPECT_EQ(mxfp4.matrices.at(WeightFormat::mxfp4).bits_per_weight(), 4.25);
  EXPECT_EQ(mxfp4.scales.at(WeightFormat::mxfp4).count, 32);
  EXPECT_EQ(mxfp4.scales.at(WeightFormat::mxfp4).subnormal, 0);
  scale.bytes[31] = '\xFF';
  put(DType::u8, 16, scale);
  EXPECT_THAT(texts(look()), ElementsAre(AllOf(HasSubstr("error: module \"" + kQProj),
                                               HasSubstr("1 of its 32 scales are NaN"))));

  // NVFP4: NaN, negative, subnormal.
  tiny_.tensors[kQProj + ".weight_global_scale"] =
      TinyCheckpoint::filled(DType::f32, {1}, std::string_view("\x00\x00\x80\x3F", 4));
  scale = TinyCheckpoint::filled(DType::f8_e4m3, {32, 2}, "8");
  scale.bytes.replace(0, 4, "\x7F\xB8\x07\x08");
  put(DType::u8, 16, scale);
  const Survey nvfp4 = look();
  EXPECT_THAT(texts(nvfp4), ElementsAre(HasSubstr("1 of its 64 scales are NaN"),
                                        HasSubstr("1 of its 64 scales are negative")));
  EXPECT_EQ(nvfp4.scales.at(WeightFormat::nvfp4).subnormal, 1);
  tiny_.tensors.erase(kQProj + ".weight_global_scale");

  // int4 in groups of 16 with BF16 scales.
  tiny_.tensors[kQProj + ".weight_shape"] = {
      DType::i32, {2}, std::string("\x20\0\0\0\x20\0\0\0", 8)};
  put(DType::i32, 16, TinyCheckpoint::filled(DType::bf16, {32, 2}, std::string_view("\0\x3F", 2)));
  const Survey int4 = look();
  EXPECT_THAT(texts(int4), ElementsAre());
  EXPECT_EQ(int4.matrices.at(WeightFormat::int4).bits_per_weight(), 5.0);
}

TEST_F(SurveyTest, WarnsOfTransposedTensors) {
  tiny_.tensors.erase(kQProj + ".weight");
  tiny_.add_zeros(kQProj + ".weight_packed", DType::u8, {16, 32});
  tiny_.add_zeros(kQProj + ".weight_scale", DType::f16, {2, 32});
  EXPECT_THAT(texts(look()), ElementsAre(AllOf(HasSubstr("warning"), HasSubstr(kQProj),
                                               HasSubstr("codes and scales are stored"))));
  tiny_.add_zeros(kQProj + ".weight_packed", DType::u8, {32, 16});
  const Survey found = look();
  EXPECT_THAT(texts(found), ElementsAre(HasSubstr("its scales are stored transposed")));
  EXPECT_EQ(found.matrices.at(WeightFormat::codebook4).bits_per_weight(), 5.0);
}

TEST_F(SurveyTest, ReportsWhatIsMissingMisshapenOrTooMuch) {
  tiny_.tensors.erase(kQProj + ".weight");
  tiny_.tensors.erase("model.norm.weight");
  tiny_.add_zeros("lm_head.weight", DType::bf16, {8, 31});
  tiny_.add_zeros("model.layers.1.input_layernorm.weight", DType::bf16, {32});
  tiny_.add_zeros(kK + ".bias", DType::bf16, {16});
  const Survey found = look();
  EXPECT_THAT(texts(found),
              ElementsAre(AllOf(HasSubstr("error"), HasSubstr(kQProj)),
                          AllOf(HasSubstr("error"), HasSubstr("bias")),
                          AllOf(HasSubstr("error"), HasSubstr("model.norm.weight")),
                          AllOf(HasSubstr("error"), HasSubstr("lm_head"), HasSubstr("[8, 31]")),
                          AllOf(HasSubstr("error"), HasSubstr("model.layers.1.input_layernorm"),
                                HasSubstr("does not belong"))));
  EXPECT_EQ(found.num_errors, 5);
  EXPECT_EQ(found.num_warnings, 0);
  EXPECT_THAT(found.extra_tensors, ElementsAre("model.layers.1.input_layernorm.weight"));
}

TEST_F(SurveyTest, SkipsMtpLayers) {
  tiny_.config["num_mtp_modules"] = 2;
  tiny_.add_zeros("model.layers.1.input_layernorm.weight", DType::bf16, {32});
  tiny_.add_zeros("model.layers.2.eh_proj.weight", DType::f32, {2, 3});
  const Survey found = look();
  EXPECT_THAT(texts(found), ElementsAre());
  EXPECT_EQ(found.skipped_mtp.count, 2);
  EXPECT_EQ(found.skipped_mtp.parameters, 38);
  EXPECT_EQ(found.skipped_mtp.bytes, 64 + 24);
}

TEST_F(SurveyTest, CountsLayersWithKvScales) {
  const auto one = TinyCheckpoint::filled(DType::f32, {1}, std::string_view("\x00\x00\x80\x3F", 4));
  tiny_.tensors[kK + ".k_scale"] = one;
  const Survey half = look();
  EXPECT_EQ(half.layers_with_k_scale, 1);
  EXPECT_EQ(half.layers_with_v_scale, 0);
  EXPECT_THAT(texts(half), ElementsAre(AllOf(HasSubstr("warning"), HasSubstr("only 1"))));

  tiny_.tensors["model.layers.0.self_attn.v_scale"] = one;
  const Survey both = look();
  EXPECT_EQ(both.layers_with_v_scale, 1);
  EXPECT_THAT(texts(both), ElementsAre());

  tiny_.add_zeros("model.layers.0.self_attn.v_scale", DType::f32, {1});
  EXPECT_THAT(texts(look()), ElementsAre(AllOf(HasSubstr("v_scale"), HasSubstr("positive"))));
}

TEST_F(SurveyTest, CountsGoOnWhenFindingsAreFull) {
  tiny_.config["num_hidden_layers"] = 100;
  const Survey found = look();
  // 16 tensors in each of 99 missing layers.
  EXPECT_EQ(found.num_errors, 99 * 16);
  EXPECT_EQ(found.findings.size(), Survey::kMaxFindings);
}

}  // namespace
}  // namespace tetrad
