#include "plan/planned_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "checkpoint/tiny_checkpoint_for_tests.h"
#include "plan/models_for_tests.h"
#include "plan/sharding.h"

namespace tetrad::plan {
namespace {

using testing::HasSubstr;

/// A safetensors file is 8 bytes of header length, the header, and the tensors without gaps.
int64_t tensor_bytes_of_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t header = 0;
  char length[sizeof header];
  file.read(length, sizeof length);
  std::memcpy(&header, length, sizeof header);
  return static_cast<int64_t>(std::filesystem::file_size(path) - sizeof header - header);
}

const WeightClass* find(const PlannedModel& model, std::string_view name) {
  for (const WeightClass& weight : model.weights) {
    if (weight.name == name) return &weight;
  }
  return nullptr;
}

TEST(PlannedModel, M27HasThePublishedNumberOfParameters) {
  EXPECT_EQ(minimax_m2_7().parameters(), 228'689'764'864);
}

TEST(PlannedModel, M27InBlockFp8HasThePublishedSize) {
  const auto model = minimax_m2_7({.weights = WeightFormat::fp8_block});
  EXPECT_NEAR(static_cast<double>(model.weight_bytes()), 230.1e9, 0.05e9);
  EXPECT_EQ(model.weight_bytes(), 230'121'630'720);
}

TEST(PlannedModel, M27InMxfp416HasFiveBitsAWeight) {
  const auto model = minimax_m2_7();
  EXPECT_TRUE(model.assumed);
  EXPECT_EQ(model.weight_bytes(), 144'689'479'680);
  const WeightClass* w1 = find(model, "model.layers.*.block_sparse_moe.experts.*.w1");
  ASSERT_NE(w1, nullptr);
  EXPECT_EQ(w1->count, 62 * 256);
  EXPECT_EQ(w1->bytes() * 8, w1->parameters() * 5);
  const WeightClass* head = find(model, "lm_head");
  ASSERT_NE(head, nullptr);
  EXPECT_EQ(head->format, WeightFormat::bf16);
  EXPECT_EQ(find(model, "model.layers.*.block_sparse_moe.gate")->format, WeightFormat::bf16);
}

TEST(PlannedModel, AttentionMayHaveAFormatOfItsOwn) {
  const auto packed = minimax_m2_7();
  const auto mixed = minimax_m2_7({.attention = WeightFormat::bf16});
  // 62 layers of [6144 + 1024 + 1024 + 6144, 3072], 11 bits a weight more.
  EXPECT_EQ((mixed.weight_bytes() - packed.weight_bytes()) * 8, 2'730'491'904 * 11);
}

TEST(PlannedModel, DemoModelHasExactlyTheBytesOfItsFile) {
  const auto model = open_planned_model(demo_folder(), {});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_FALSE(model->assumed);
  EXPECT_EQ(model->weight_bytes(),
            tensor_bytes_of_file(demo_folder() / "model-00001-of-00001.safetensors"));
  EXPECT_EQ(model->skipped_bytes, 0);
}

TEST(PlannedModel, AssumedFormatsOfTheDemoModelAreItsOwn) {
  const auto stored = open_planned_model(demo_folder(), {});
  const auto assumed = open_planned_model(demo_folder() / "config.json", {});
  ASSERT_TRUE(stored && assumed);
  EXPECT_EQ(find(*stored, "model.layers.*.self_attn.q_proj")->bytes(),
            find(*assumed, "model.layers.*.self_attn.q_proj")->bytes());
  EXPECT_EQ(find(*stored, "model.layers.*.block_sparse_moe.experts.*.w2")->bytes(),
            find(*assumed, "model.layers.*.block_sparse_moe.experts.*.w2")->bytes());
}

class PlannedFolder : public testing::Test {
 protected:
  ~PlannedFolder() override { std::filesystem::remove_all(folder_); }

  const std::filesystem::path folder_ = folder_of_this_test();
  TinyCheckpoint tiny_;
};

TEST_F(PlannedFolder, CountsKvScalesAndSkipsWhatIsNotLoaded) {
  tiny_.config["num_mtp_modules"] = 1;
  tiny_.add_zeros("model.layers.0.self_attn.k_scale", DType::f32, {1});
  tiny_.add_zeros("model.layers.0.self_attn.v_scale", DType::f32, {1});
  tiny_.add_zeros("model.layers.1.anything", DType::bf16, {10});
  tiny_.write(folder_);
  const auto model = open_planned_model(folder_, {});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(model->has_kv_scales);
  EXPECT_EQ(model->skipped_bytes, 20);
  EXPECT_EQ(model->weight_bytes() + 20, tensor_bytes_of_file(folder_ / "model.safetensors"));
}

TEST_F(PlannedFolder, OneHalfOfTheKvScalesIsNotEnough) {
  tiny_.add_zeros("model.layers.0.self_attn.k_scale", DType::f32, {1});
  tiny_.write(folder_);
  const auto model = open_planned_model(folder_, {});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_FALSE(model->has_kv_scales);
}

TEST_F(PlannedFolder, FormatsAreThoseOfTheTensors) {
  tiny_.replace_weight(
      "model.layers.0.block_sparse_moe.experts.1.w1",
      {{"weight_packed", TinyCheckpoint::filled(DType::u8, {16, 16}, std::string_view("\0", 1))},
       {"weight_scale", TinyCheckpoint::filled(DType::f16, {16, 2}, std::string_view("\0\0", 2))}});
  tiny_.write(folder_);
  const auto model = open_planned_model(folder_, {});
  ASSERT_TRUE(model) << model.error().message;
  int64_t bf16 = 0;
  int64_t packed = 0;
  for (const WeightClass& weight : model->weights) {
    if (weight.name != "model.layers.*.block_sparse_moe.experts.*.w1") continue;
    if (weight.format == WeightFormat::bf16) bf16 += weight.count;
    if (weight.format == WeightFormat::mxfp4_16) packed += weight.count;
  }
  EXPECT_EQ(bf16, 1);
  EXPECT_EQ(packed, 1);
  EXPECT_EQ(model->weight_bytes(), tensor_bytes_of_file(folder_ / "model.safetensors"));
}

TEST_F(PlannedFolder, FormatsOfOtherProgramsHaveTheirSizes) {
  const std::string expert = "model.layers.0.block_sparse_moe.experts.1.";
  const auto codes = [](int64_t rows, int64_t cols) {
    return TinyCheckpoint::filled(DType::u8, {rows, cols / 2}, std::string_view("\0", 1));
  };
  const auto scales = [](int64_t rows, int64_t groups) {
    return TinyCheckpoint::filled(DType::u8, {rows, groups}, std::string_view("\x7F", 1));
  };
  tiny_.replace_weight(expert + "w1",
                       {{"weight_packed", codes(16, 32)}, {"weight_scale", scales(16, 1)}});
  tiny_.replace_weight(expert + "w3",
                       {{"weight_packed", codes(16, 32)}, {"weight_scale", scales(16, 2)}});
  tiny_.write(folder_);
  const auto model = open_planned_model(folder_, {});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->weight_bytes(), tensor_bytes_of_file(folder_ / "model.safetensors"));
  for (const WeightClass& weight : model->weights) {
    if (weight.format != WeightFormat::mxfp4) continue;
    const int64_t whole = weight.name.ends_with("w1") ? 16 * (16 + 1) : 16 * (16 + 2);
    EXPECT_EQ(weight.bytes(), whole);
    EXPECT_EQ(shard_of(weight, model->config, {.tensor_parallel = 2}).bytes, whole / 2);
  }
}

TEST_F(PlannedFolder, WithOnlyAConfigIsPlannedFromIt) {
  std::filesystem::create_directories(folder_);
  write_test_file(folder_ / "config.json", to_json_text(tiny_.config));
  const auto model = open_planned_model(folder_, {});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(model->assumed);
}

TEST_F(PlannedFolder, RefusesToAssumeFormatsOfRealTensors) {
  tiny_.write(folder_);
  const auto model = open_planned_model(folder_, {.weights = WeightFormat::bf16});
  ASSERT_FALSE(model);
  EXPECT_THAT(model.error().message, HasSubstr("say their formats themselves"));
}

TEST_F(PlannedFolder, MissingTensorIsNamed) {
  tiny_.tensors.erase("model.layers.0.self_attn.q_norm.weight");
  tiny_.write(folder_);
  const auto model = open_planned_model(folder_, {});
  ASSERT_FALSE(model);
  EXPECT_THAT(model.error().message, HasSubstr("model.layers.0.self_attn.q_norm.weight"));
}

TEST_F(PlannedFolder, BadConfigsAreRefusedByName) {
  std::filesystem::create_directories(folder_);
  const std::filesystem::path config = folder_ / "config.json";
  const auto error_of = [&](const json::object& object) {
    write_test_file(config, to_json_text(object));
    const auto model = open_planned_model(config, {});
    EXPECT_FALSE(model);
    return model ? std::string() : model.error().message;
  };
  json::object odd = tiny_.config;
  odd["intermediate_size"] = 24;
  EXPECT_THAT(error_of(odd), HasSubstr("experts.0.w2 [32, 24] cannot be mxfp4_16"));
  json::object huge = tiny_.config;
  huge["vocab_size"] = 2147483647;
  huge["hidden_size"] = 2147483632;
  EXPECT_THAT(error_of(huge), HasSubstr("a model of 9.22e+18 parameters"));
  json::object other = tiny_.config;
  other["model_type"] = "llama";
  EXPECT_THAT(error_of(other), HasSubstr("config.json: \"model_type\" is \"llama\""));
  std::filesystem::remove(config);
  const auto none = open_planned_model(folder_, {});
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("config.json"));
}

}  // namespace
}  // namespace tetrad::plan
