#include "checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "checkpoint/tiny_checkpoint_for_tests.h"

namespace tetrad {
namespace {

using testing::HasSubstr;
using Tensor = TinyCheckpoint::Tensor;

const std::string kQ = "model.layers.0.self_attn.q_proj";                // [32, 32]
const std::string kW2 = "model.layers.0.block_sparse_moe.experts.1.w2";  // [32, 16]

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() : folder_(folder_of_this_test()) {}
  ~CheckpointTest() override { std::filesystem::remove_all(folder_); }

  void expect_open_fails(std::initializer_list<std::string_view> said) const {
    const auto checkpoint = Checkpoint::open(folder_);
    ASSERT_FALSE(checkpoint);
    for (const std::string_view text : said)
      EXPECT_THAT(checkpoint.error().message, HasSubstr(text));
  }

  const std::filesystem::path folder_;
};

TEST_F(CheckpointTest, OpensASingleFile) {
  TinyCheckpoint tiny;
  tiny.write(folder_);
  write_test_file(folder_ / "generation_config.json", R"({"eos_token_id": [7], "top_k": 40})");
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->config().hidden_size, 32);
  EXPECT_EQ(checkpoint->generation_defaults().eos_token_ids, std::vector<int32_t>{7});
  EXPECT_EQ(checkpoint->tensors().size(), tiny.tensors.size());
  EXPECT_EQ(checkpoint->shard_of("lm_head.weight"), "model.safetensors");
  EXPECT_EQ(checkpoint->shard_of("lm_head"), "");
  EXPECT_EQ(checkpoint->find("lm_head"), nullptr);
}

TEST_F(CheckpointTest, OpensShardsOfAnyName) {
  TinyCheckpoint tiny;
  for (char& byte : tiny.tensors["lm_head.weight"].bytes)
    byte = 'L';
  tiny.write_sharded(folder_, "model.embed");
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_THAT(checkpoint->shards(), testing::ElementsAre("a.safetensors", "b.safetensors"));
  EXPECT_EQ(checkpoint->shard_of("lm_head.weight"), "a.safetensors");
  EXPECT_EQ(checkpoint->shard_of("model.norm.weight"), "b.safetensors");
  EXPECT_TRUE(checkpoint->oddities().empty());

  std::ifstream file(folder_ / "a.safetensors", std::ios::binary);
  file.seekg(static_cast<std::streamoff>(checkpoint->file_offset_of("lm_head.weight")));
  EXPECT_EQ(file.get(), 'L');
}

TEST_F(CheckpointTest, SaysWhatTheFolderLacks) {
  expect_open_fails({"no checkpoint folder", folder_.string()});
  std::filesystem::create_directories(folder_);
  expect_open_fails({folder_.string(), "no config.json"});
  write_test_file(folder_ / "config.json", "{");
  expect_open_fails({"config.json", "not valid JSON"});
  write_test_file(folder_ / "config.json", "{}");
  expect_open_fails({"config.json: \"model_type\" is missing"});
  write_test_file(folder_ / "config.json", to_json_text(TinyCheckpoint().config));
  expect_open_fails({"no weights"});
  write_test_file(folder_ / "part-1.safetensors", "");
  expect_open_fails({"1 .safetensors files", "index.json"});
  write_test_file(folder_ / "model.safetensors", "short");
  expect_open_fails({"model.safetensors: not a safetensors file", "5 bytes"});
  write_test_file(folder_ / "model.safetensors", "");
  expect_open_fails({"model.safetensors: not a safetensors file", "0 bytes"});

  const auto file = Checkpoint::open(folder_ / "config.json");
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message, HasSubstr("is not a folder"));
}

TEST_F(CheckpointTest, ChecksEveryConfigurationFile) {
  TinyCheckpoint tiny;
  tiny.config["quantization_config"] = {{"quant_method", "gptq"}};
  tiny.write(folder_);
  expect_open_fails({"config.json: \"quantization_config.quant_method\" is \"gptq\""});
  TinyCheckpoint().write(folder_);
  write_test_file(folder_ / "generation_config.json", R"({"top_p": "all"})");
  expect_open_fails({"generation_config.json: \"top_p\""});
}

TEST_F(CheckpointTest, IndexAndShardsMustAgree) {
  TinyCheckpoint tiny;
  tiny.write_sharded(folder_, "model.embed");
  std::filesystem::remove(folder_ / "b.safetensors");
  expect_open_fails({"b.safetensors is missing"});

  tiny.write_sharded(folder_, "model.embed");
  const auto index = folder_ / "model.safetensors.index.json";
  json::object object = parse_json(*read_text_file(index))->as_object();
  json::object& weight_map = object["weight_map"].as_object();
  weight_map["model.layers.9.ghost"] = "b.safetensors";
  write_test_file(index, to_json_text(object));
  expect_open_fails({"b.safetensors", "\"model.layers.9.ghost\" is missing"});

  // The right tensor in the wrong file.
  weight_map.erase("model.layers.9.ghost");
  weight_map["lm_head.weight"] = "b.safetensors";
  write_test_file(index, to_json_text(object));
  expect_open_fails({"b.safetensors", "\"lm_head.weight\" is missing"});

  // A tensor the index does not know is no reason to refuse the rest.
  weight_map.erase("lm_head.weight");
  write_test_file(index, to_json_text(object));
  const auto checkpoint = Checkpoint::open(folder_);
  // Nothing else is in a.safetensors, so the index no longer leads there.
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->find("lm_head.weight"), nullptr);

  tiny.write_sharded(folder_, "model.layers.0.self_attn");
  object = parse_json(*read_text_file(index))->as_object();
  object["weight_map"].as_object().erase("lm_head.weight");
  write_test_file(index, to_json_text(object));
  const auto odd = Checkpoint::open(folder_);
  ASSERT_TRUE(odd);
  EXPECT_THAT(odd->oddities(),
              testing::ElementsAre(testing::AllOf(HasSubstr("a.safetensors"),
                                                  HasSubstr("\"lm_head.weight\" is not in"))));

  write_test_file(index, R"({"weight_map": {"a": "../a.safetensors"}})");
  expect_open_fails({"index.json", "\"../a.safetensors\""});
  write_test_file(index, "{}");
  expect_open_fails({"index.json", "\"weight_map\" is missing"});
}

TEST_F(CheckpointTest, RefusesATensorThatIsInTwoShards) {
  TinyCheckpoint tiny;
  tiny.write_sharded(folder_, "model.embed");
  std::filesystem::copy_file(folder_ / "a.safetensors", folder_ / "c.safetensors");
  const auto index = folder_ / "model.safetensors.index.json";
  json::object object = parse_json(*read_text_file(index))->as_object();
  object["weight_map"].as_object()["other"] = "c.safetensors";
  write_test_file(index, to_json_text(object));
  expect_open_fails({"c.safetensors", "\"lm_head.weight\"", "a.safetensors too"});
}

TEST_F(CheckpointTest, RefusesASingleFileBesideTheIndexOfOthers) {
  TinyCheckpoint tiny;
  tiny.write_sharded(folder_, "model.embed");
  std::filesystem::copy_file(folder_ / "a.safetensors", folder_ / "model.safetensors");
  expect_open_fails({"both", "model.safetensors"});
}

TEST_F(CheckpointTest, NamesTheFileOfADamagedTensor) {
  TinyCheckpoint().write_sharded(folder_, "model.layers");
  const auto path = folder_ / "b.safetensors";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  expect_open_fails({"b.safetensors: tensor \"", "truncated"});
}

TEST_F(CheckpointTest, ReadsDenseMatricesAndVectors) {
  TinyCheckpoint tiny;
  tiny.replace_weight(
      kQ,
      {{"weight", TinyCheckpoint::filled(DType::f16, {32, 32}, std::string_view("\x00\x3C", 2))}});
  tiny.tensors["model.norm.weight"] =
      TinyCheckpoint::filled(DType::bf16, {32}, std::string_view("\x40\xC0", 2));  // -3
  tiny.tensors["model.layers.0.input_layernorm.weight"] =
      TinyCheckpoint::filled(DType::f16, {32}, std::string_view("\x01\x00", 2));
  tiny.tensors["model.layers.0.block_sparse_moe.e_score_correction_bias"] =
      TinyCheckpoint::filled(DType::f32, {2}, std::string_view("\x00\x00\x20\x41", 4));  // 10
  tiny.write(folder_);
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto q = checkpoint->matrix(kQ, 32, 32);
  ASSERT_TRUE(q) << q.error().message;
  EXPECT_EQ(q->format, WeightFormat::f16);
  std::vector<float> row(32);
  dequantize_row(*q, 31, row);
  EXPECT_EQ(row, std::vector<float>(32, 1.0f));

  EXPECT_EQ(checkpoint->vector("model.norm.weight", 32).value(), std::vector<float>(32, -3.0f));
  EXPECT_EQ(checkpoint->vector("model.layers.0.input_layernorm.weight", 32).value(),
            std::vector<float>(32, 0x1p-24f));
  EXPECT_EQ(
      checkpoint->vector("model.layers.0.block_sparse_moe.e_score_correction_bias", 2).value(),
      std::vector<float>(2, 10.0f));
}

TEST_F(CheckpointTest, VectorsAreCheckedByName) {
  TinyCheckpoint tiny;
  tiny.add_zeros("model.norm.weight", DType::u8, {32});
  tiny.write(folder_);
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint);
  const auto missing = checkpoint->vector("model.nrom.weight", 32);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_THAT(missing.error().message, HasSubstr("\"model.nrom.weight\""));
  const auto wrong_dtype = checkpoint->vector("model.norm.weight", 32);
  ASSERT_FALSE(wrong_dtype);
  EXPECT_THAT(wrong_dtype.error().message, HasSubstr("model.safetensors: tensor \"model.norm"));
  EXPECT_THAT(wrong_dtype.error().message, HasSubstr("U8"));
  const auto wrong_size = checkpoint->vector("model.norm.weight", 31);
  ASSERT_FALSE(wrong_size);
  EXPECT_THAT(wrong_size.error().message, HasSubstr("[32] where [31]"));
}

/// An mxfp4_16 pair for a [rows, cols] matrix under these names: every code 8 (level 1), every
/// scale -1.5.
std::vector<std::pair<std::string, Tensor>> packed_pair(const std::string& packed,
                                                        const std::string& scale, int64_t rows,
                                                        int64_t cols) {
  return {{packed, TinyCheckpoint::filled(DType::u8, {rows, cols / 2}, "\x88")},
          {scale,
           TinyCheckpoint::filled(DType::f16, {rows, cols / 16}, std::string_view("\x00\xBE", 2))}};
}

TEST_F(CheckpointTest, FindsMxfp4UnderEveryAlias) {
  for (const char* packed : {"weight_packed", "qweight", "weight", "weight_q"}) {
    for (const char* scale : {"weight_scale", "scales", "weight_scales"}) {
      TinyCheckpoint tiny;
      tiny.replace_weight(kQ, packed_pair(packed, scale, 32, 32));
      tiny.write(folder_);
      const auto checkpoint = Checkpoint::open(folder_);
      ASSERT_TRUE(checkpoint) << checkpoint.error().message;
      const auto matrix = checkpoint->matrix(kQ, 32, 32);
      ASSERT_TRUE(matrix) << packed << scale << matrix.error().message;
      EXPECT_EQ(matrix->format, WeightFormat::mxfp4_16);
      EXPECT_EQ(matrix->total_bytes(), 32 * 32 * 5 / 8);
      std::vector<float> row(32);
      dequantize_row(*matrix, 31, row);
      EXPECT_EQ(row, std::vector<float>(32, -1.5f));
    }
  }
}

TEST_F(CheckpointTest, TheCodebookOfTheConfigReachesTheMatrix) {
  TinyCheckpoint tiny;
  json::array levels(16, 0);
  levels[8] = 100;
  tiny.config["quantization_config"] = {{"quant_method", "mxfp4_16"}, {"codebook", levels}};
  tiny.replace_weight(kW2, packed_pair("weight_packed", "weight_scale", 32, 16));
  tiny.write(folder_);
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto matrix = checkpoint->matrix(kW2, 32, 16);
  ASSERT_TRUE(matrix) << matrix.error().message;
  std::vector<float> row(16);
  dequantize_row(*matrix, 0, row);
  EXPECT_EQ(row, std::vector<float>(16, -150.0f));
}

TEST_F(CheckpointTest, ReadsBlockFp8WithPartialBlocks) {
  TinyCheckpoint tiny;
  // 0x40 is 2.0 in E4M3; the scale is 0.25.
  const auto fp8 = TinyCheckpoint::filled(DType::f8_e4m3, {32, 32}, "\x40");
  const auto scale =
      TinyCheckpoint::filled(DType::f32, {1, 1}, std::string_view("\x00\x00\x80\x3E", 4));
  tiny.replace_weight(kQ, {{"weight", fp8}, {"weight_scale_inv", scale}});
  tiny.write(folder_);
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint);
  const auto matrix = checkpoint->matrix(kQ, 32, 32);
  ASSERT_TRUE(matrix) << matrix.error().message;
  EXPECT_EQ(matrix->format, WeightFormat::fp8_block);
  std::vector<float> row(32);
  dequantize_row(*matrix, 31, row);
  EXPECT_EQ(row, std::vector<float>(32, 0.5f));
}

TEST_F(CheckpointTest, RefusesModulesOfOtherFormatsAndListsTheirTensors) {
  const auto filled = [](DType dtype, std::vector<int64_t> shape) {
    return TinyCheckpoint::filled(dtype, std::move(shape),
                                  std::string_view("@234567").substr(0, dtype_size(dtype)));
  };
  const auto codes = TinyCheckpoint::filled(DType::u8, {32, 16}, "\x88");
  const auto f8 = [&](std::vector<int64_t> shape) { return filled(DType::f8_e4m3, shape); };
  const auto f32 = [&](std::vector<int64_t> shape) { return filled(DType::f32, shape); };
  const auto f16 = [&](std::vector<int64_t> shape) { return filled(DType::f16, shape); };
  const auto bf16 = [&](std::vector<int64_t> shape) { return filled(DType::bf16, shape); };
  const auto i32 = [&](std::vector<int64_t> shape) { return filled(DType::i32, shape); };
  const auto u8 = [&](std::vector<int64_t> shape) { return filled(DType::u8, shape); };
  const auto none = TinyCheckpoint::filled(DType::f32, {1}, std::string_view("\0\0\0\0", 4));
  const auto nan = TinyCheckpoint::filled(DType::f32, {1}, "\xFF\xFF\xFF\xFF");
  const auto shape_of = [](int64_t rows, int64_t cols) {
    Tensor tensor{DType::i64, {2}, std::string(16, '\0')};
    std::memcpy(tensor.bytes.data(), &rows, sizeof rows);
    std::memcpy(tensor.bytes.data() + 8, &cols, sizeof cols);
    return tensor;
  };
  const Tensor shape = shape_of(32, 32);
  struct Case {
    std::vector<std::pair<std::string, Tensor>> tensors;
    const char* said;
    const char* also_said = "";
  };
  const Case cases[] = {
      {{{"weight_packed", codes}}, "needs a weight_scale", "weight_packed U8 [32, 16]"},
      {{{"weight_packed", codes}, {"weight_scale", filled(DType::i8, {32, 2})}},
       "scales of dtype I8",
       "weight_scale I8 [32, 2]"},
      {{{"weight_packed", codes}, {"weight_scale", f16({32, 2})}, {"scales", f16({32, 2})}},
       "both could be meant"},
      {{{"weight_packed", codes}, {"weight", bf16({32, 32})}, {"weight_scale", f16({32, 2})}},
       "both could be meant"},
      {{{"weight_packed", codes}, {"weight_fp16", f16({32, 32})}, {"weight_scale", f16({32, 2})}},
       "both could be meant"},
      {{{"weight_packed", codes},
        {"weight_scale", f16({32, 2})},
        {"weight_global_scale", f32({1})}},
       "weight_global_scale is not expected"},
      {{{"weight_packed", codes}, {"weight_scale", f16({32, 2})}, {"weight_zero_point", codes}},
       "weight_zero_point is not expected"},
      // Another group size, another shape.
      {{{"weight_packed", codes}, {"weight_scale", f16({32, 4})}}, "groups of 8", "16 and 32"},
      {{{"weight_packed", codes}, {"weight_scale", u8({32, 8})}}, "groups of 4"},
      {{{"weight_packed", codes}, {"weight_scale", f16({64})}}, "[64] where [32, 2]"},
      {{{"weight_packed", codes}, {"weight_scale", f16({3, 32})}}, "[3, 32] where [32, 2]"},
      {{{"weight_packed", TinyCheckpoint::filled(DType::u8, {32, 32}, "1")},
        {"weight_scale", f16({32, 2})}},
       "[32, 32] where [32, 16]"},
      // NVFP4 without, with a bad and with two global scales.
      {{{"weight_packed", codes}, {"weight_scale", f8({32, 2})}},
       "needs a weight_global_scale or a weight_scale_2",
       "weight_scale F8_E4M3"},
      {{{"weight_packed", codes}, {"weight_scale", f8({32, 2})}, {"weight_global_scale", none}},
       "weight_global_scale holds 0"},
      {{{"weight", codes}, {"weight_scale", f8({32, 2})}, {"weight_scale_2", nan}},
       "weight_scale_2 holds"},
      {{{"weight", codes}, {"weight_scale", f8({32, 2})}, {"weight_scale_2", f32({2})}},
       "weight_scale_2 F32 [2] is not one"},
      {{{"weight_packed", codes},
        {"weight_scale", f8({32, 2})},
        {"weight_global_scale", f32({1})},
        {"weight_scale_2", f32({1})}},
       "weight_global_scale and weight_scale_2 both"},
      // MXFP4 with a global scale.
      {{{"weight_packed", codes}, {"weight_scale", u8({32, 1})}, {"weight_scale_2", f32({1})}},
       "weight_scale_2 is not expected"},
      // Integers.
      {{{"weight_packed", i32({32, 4})}, {"weight_scale", bf16({32, 1})}},
       "needs a weight_shape",
       "weight_packed I32 [32, 4]"},
      {{{"weight_packed", i32({32, 4})}, {"weight_shape", shape}}, "needs a weight_scale"},
      {{{"weight_packed", i32({32, 4})}, {"weight_scale", u8({32, 1})}, {"weight_shape", shape}},
       "needs a weight_scale of BF16"},
      {{{"weight_packed", i32({32, 4})},
        {"weight_scale", bf16({32, 1})},
        {"weight_shape", shape_of(32, 31)}},
       "weight_shape holds (32, 31) where (32, 32)"},
      {{{"weight_packed", i32({32, 4})},
        {"weight_scale", bf16({32, 1})},
        {"weight_shape", f32({2})}},
       "weight_shape must be I64"},
      {{{"weight_packed", i32({32, 6})}, {"weight_scale", bf16({32, 1})}, {"weight_shape", shape}},
       "[32, 4] of 4-bit",
       "[32, 8] of 8-bit"},
      {{{"weight_packed", i32({32, 4})}, {"weight_scale", bf16({32, 3})}, {"weight_shape", shape}},
       "3 groups, and 32 columns"},
      {{{"weight_packed", i32({32, 4})}, {"weight_scale", bf16({1, 2})}, {"weight_shape", shape}},
       "[1, 2] where [32, groups]"},
      {{{"weight_packed", i32({32, 4})},
        {"weight_scale", bf16({32, 2})},
        {"weight_shape", shape},
        {"weight_zero_point", i32({32, 2})}},
       "weight_zero_point has shape [32, 2] where [4, 2]"},
      {{{"weight_packed", i32({32, 4})},
        {"weight_scale", bf16({32, 2})},
        {"weight_shape", shape},
        {"weight_zero_point", f32({4, 2})}},
       "weight_zero_point must be I32"},
      {{{"weight_packed", i32({32, 4})},
        {"weight_scale", bf16({32, 2})},
        {"weight_shape", shape},
        {"weight_g_idx", i32({32})}},
       "weight_g_idx[0] is",
       "none of the 2 groups"},
      {{{"weight_packed", i32({32, 4})},
        {"weight_scale", bf16({32, 2})},
        {"weight_shape", shape},
        {"weight_g_idx", i32({31})}},
       "weight_g_idx has shape [31] where [32]"},
      // FP8 without, or with other, scales.
      {{{"weight", f8({32, 32})}}, "weight_scale_inv", "weight F8_E4M3 [32, 32]"},
      {{{"weight", f8({32, 32})}, {"weight_scale", u8({1})}}, "weight_scale_inv"},
      {{{"weight", f8({32, 32})}, {"weight_scale", f32({1})}, {"weight_scale_inv", f32({1, 1})}},
       "both could be meant"},
      {{{"weight", f8({32, 32})}, {"weight_scale_inv", f32({1, 2})}},
       "weight_scale_inv has shape [1, 2]",
       "[1, 1] for its blocks of 128"},
      {{{"weight", f8({32, 31})}, {"weight_scale_inv", f32({1, 1})}}, "[32, 31] where [32, 32]"},
      // Dense, but not only.
      {{{"weight", bf16({32, 32})}, {"bias", bf16({32})}}, "bias is not expected"},
      {{{"weight", bf16({32, 32})}, {"weight_scale_inv", f32({1, 1})}}, "weight_scale_inv is not"},
      {{{"weight", bf16({32})}}, "[32] where [32, 32]"},
      {{{"weight", bf16({32, 32, 1})}}, "[32, 32, 1] where"},
      // Others.
      {{{"weight", TinyCheckpoint::filled(DType::i8, {32, 32}, "1")}}, "dtype I8"},
      {{{"qweight", i32({4, 32})}, {"scales", f16({1, 32})}}, "qweight of dtype I32"},
      {{{"weight_packed", bf16({32, 32})}}, "weight_packed of dtype BF16"},
      {{{"weight_fp16", bf16({32, 32})}}, "weight_fp16 of dtype BF16"},
      {{{"weight_scale", f16({32, 2})}}, "no tensor with the weight"},
  };
  for (const Case& c : cases) {
    TinyCheckpoint tiny;
    tiny.replace_weight(kQ, c.tensors);
    expect_matrix_fails(folder_, tiny, kQ, 32, 32,
                        {"model.safetensors: module \"" + kQ + "\"", c.said, c.also_said});
  }
}

TEST_F(CheckpointTest, MatricesAreCheckedAgainstTheShapeAskedFor) {
  const TinyCheckpoint tiny;
  expect_matrix_fails(folder_, tiny, kQ, 33, 32, {"[32, 32] where [33, 32]"});
  expect_matrix_fails(folder_, tiny, kQ, 32, 16, {"[32, 32] where [32, 16]"});
  expect_matrix_fails(folder_, tiny, "model.layers.0.self_attn", 32, 32,
                      {"has no tensor", "[32, 32]"});
  expect_matrix_fails(folder_, tiny, "model.layers.1.self_attn.q_proj", 32, 32, {"model.layers.1"});
  TinyCheckpoint packed;
  packed.replace_weight(kQ, packed_pair("weight_packed", "weight_scale", 32, 32));
  expect_matrix_fails(folder_, packed, kQ, 32, 24, {"[32, 16] where [32, 12]"});
  expect_matrix_fails(folder_, packed, kQ, 32, 31, {"31 columns are not a multiple of 2"});
  expect_matrix_fails(folder_, packed, kQ, 32, 64, {"[32, 16] where [32, 32]"});
  packed.add_zeros(kQ + ".weight_scale", DType::u8, {32, 2});
  expect_matrix_fails(folder_, packed, kQ, 32, 24, {"24 columns are not a multiple of 16"});
}

TEST_F(CheckpointTest, ScalesOfTheKvCacheDoNotDisturbAProjection) {
  TinyCheckpoint tiny;
  const std::string k = "model.layers.0.self_attn.k_proj";
  tiny.replace_weight(k, packed_pair("weight_packed", "weight_scale", 16, 32));
  for (const char* suffix : {".k_scale", ".output_scale", ".input_scale"})
    tiny.add_zeros(k + suffix, DType::f32, {});
  tiny.write(folder_);
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint);
  EXPECT_TRUE(checkpoint->matrix(k, 16, 32));
}

}  // namespace
}  // namespace tetrad
