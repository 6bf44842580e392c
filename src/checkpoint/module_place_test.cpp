// Experts under other programs' names and in tensors that hold all of a layer.

#include "checkpoint/module_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/stray_tensors.h"
#include "checkpoint/survey.h"
#include "checkpoint/tiny_checkpoint_for_tests.h"

namespace tetrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;
using Tensor = TinyCheckpoint::Tensor;

const std::string kExperts = "model.layers.0.block_sparse_moe.experts";

/// The tensors of an expert's projection by suffix.
using Suffixes = std::map<std::string, Tensor>;

Tensor random_bytes(DType dtype, std::vector<int64_t> shape, std::mt19937& random, int limit) {
  const size_t bytes = *checked_num_elements(shape) * dtype_size(dtype);
  Tensor tensor{dtype, std::move(shape), std::string(bytes, '\0')};
  for (char& byte : tensor.bytes)
    byte = static_cast<char>(static_cast<int>(random()) & limit);
  return tensor;
}

Suffixes mxfp4_16(int64_t rows, int64_t cols, std::mt19937& random) {
  return {{"weight_packed", random_bytes(DType::u8, {rows, cols / 2}, random, 0xFF)},
          {"weight_scale", random_bytes(DType::f16, {rows, cols / 16}, random, 0x3F)}};
}
Suffixes nvfp4(int64_t rows, int64_t cols, std::mt19937& random) {
  return {{"weight_packed", random_bytes(DType::u8, {rows, cols / 2}, random, 0xFF)},
          {"weight_scale", random_bytes(DType::f8_e4m3, {rows, cols / 16}, random, 0x3F)},
          {"weight_global_scale",
           TinyCheckpoint::filled(DType::f32, {1}, std::string_view("\0\0\x20\x41", 4))}};
}
Suffixes fp8_channel(int64_t rows, int64_t cols, std::mt19937& random) {
  return {{"weight", random_bytes(DType::f8_e4m3, {rows, cols}, random, 0x3F)},
          {"weight_scale", random_bytes(DType::bf16, {rows, 1}, random, 0x3F)}};
}
Suffixes fp8_block(int64_t rows, int64_t cols, std::mt19937& random) {
  return {{"weight", random_bytes(DType::f8_e4m3, {rows, cols}, random, 0x3F)},
          {"weight_scale_inv", TinyCheckpoint::filled(DType::f32, {1, 1}, "1234")}};
}
Suffixes dense(int64_t rows, int64_t cols, std::mt19937& random) {
  return {{"weight", random_bytes(DType::bf16, {rows, cols}, random, 0x3F)}};
}

/// One after the other along a new first dimension.
Tensor stacked(const std::vector<Tensor>& parts) {
  Tensor all{parts[0].dtype, parts[0].shape, ""};
  all.shape.insert(all.shape.begin(), static_cast<int64_t>(parts.size()));
  for (const Tensor& part : parts)
    all.bytes += part.bytes;
  return all;
}

/// One below the other, as a matrix of gate and up.
Tensor joined(const Tensor& gate, const Tensor& up) {
  if (gate.shape == std::vector<int64_t>{1, 1}) return gate;  // blocks of 128 rows hold both
  Tensor both = gate;
  both.shape[0] *= 2;
  both.bytes += up.bytes;
  return both;
}

class ModulePlaceTest : public testing::Test {
 protected:
  ModulePlaceTest() : folder_(folder_of_this_test()) {}
  ~ModulePlaceTest() override { std::filesystem::remove_all(folder_); }

  using Make = Suffixes (*)(int64_t, int64_t, std::mt19937&);
  /// Both experts, [projection][expert].
  using Experts = std::map<std::string, std::vector<Suffixes>>;

  static Experts make_experts(Make make) {
    std::mt19937 random(3);
    Experts experts;
    for (int expert = 0; expert < 2; ++expert) {
      experts["w1"].push_back(make(16, 32, random));
      experts["w3"].push_back(make(16, 32, random));
      experts["w2"].push_back(make(32, 16, random));
    }
    // A row of blocks that gate and up have in common is the same in both.
    for (size_t expert = 0; expert < 2; ++expert) {
      if (const auto scale = experts["w1"][expert].find("weight_scale_inv");
          scale != experts["w1"][expert].end())
        experts["w3"][expert]["weight_scale_inv"] = scale->second;
    }
    return experts;
  }

  static TinyCheckpoint without_experts() {
    TinyCheckpoint tiny;
    std::erase_if(tiny.tensors,
                  [](const auto& entry) { return entry.first.starts_with(kExperts); });
    return tiny;
  }

  static TinyCheckpoint one_by_one(const Experts& experts,
                                   const std::map<std::string, std::string>& names) {
    TinyCheckpoint tiny = without_experts();
    for (const auto& [projection, each] : experts) {
      for (size_t expert = 0; expert < each.size(); ++expert) {
        for (const auto& [suffix, tensor] : each[expert]) {
          tiny.tensors[fmt::format("{}.{}.{}.{}", kExperts, expert, names.at(projection), suffix)] =
              tensor;
        }
      }
    }
    return tiny;
  }

  /// All experts of a projection in one tensor; separator "." and no suffix for a bare one.
  static void add_all(TinyCheckpoint& tiny, const std::string& name,
                      const std::vector<Suffixes>& each, bool bare = false) {
    for (const auto& [suffix, tensor] : each[0]) {
      std::vector<Tensor> parts;
      for (const Suffixes& expert : each)
        parts.push_back(expert.at(suffix));
      tiny.tensors[fmt::format("{}.{}{}", kExperts, name, bare ? "" : "." + suffix)] =
          stacked(parts);
    }
  }

  static std::vector<Suffixes> gate_and_up(const Experts& experts) {
    std::vector<Suffixes> both;
    for (size_t expert = 0; expert < 2; ++expert) {
      Suffixes& suffixes = both.emplace_back();
      for (const auto& [suffix, gate] : experts.at("w1")[expert])
        suffixes[suffix] = joined(gate, experts.at("w3")[expert].at(suffix));
    }
    return both;
  }

  /// The values of every expert's projections, in a fixed order.
  std::vector<std::vector<float>> read(const TinyCheckpoint& tiny, const std::string& what) const {
    tiny.write(folder_);
    const auto checkpoint = Checkpoint::open(folder_);
    EXPECT_TRUE(checkpoint) << what << ": " << checkpoint.error().message;
    std::vector<std::vector<float>> all;
    for (const ExpectedTensor& expected : expected_tensors(checkpoint->config())) {
      if (expected.expert < 0) continue;
      const auto matrix = checkpoint->matrix(expected.name, expected.rows, expected.cols);
      if (!matrix) {
        ADD_FAILURE() << what << ": " << matrix.error().message;
        continue;
      }
      std::vector<float>& values =
          all.emplace_back(static_cast<size_t>(expected.rows * expected.cols));
      for (int64_t row = 0; row < expected.rows; ++row) {
        dequantize_row(*matrix, row,
                       std::span(values).subspan(static_cast<size_t>(row * expected.cols)));
      }
    }
    EXPECT_TRUE(check_no_stray_tensors(*checkpoint)) << what;
    const Survey found = survey(*checkpoint);
    for (const Finding& finding : found.findings)
      ADD_FAILURE() << what << ": " << finding.text;
    return all;
  }

  const std::filesystem::path folder_;
};

TEST_F(ModulePlaceTest, ExpertsAreTheSameWhereverTheyStand) {
  for (const Make make : {mxfp4_16, nvfp4, fp8_channel, fp8_block, dense}) {
    const Experts experts = make_experts(make);
    const auto expected =
        read(one_by_one(experts, {{"w1", "w1"}, {"w2", "w2"}, {"w3", "w3"}}), "own names");
    ASSERT_EQ(expected.size(), 6u);
    EXPECT_NE(expected[0], expected[1]);
    EXPECT_EQ(
        read(one_by_one(experts, {{"w1", "gate_proj"}, {"w2", "down_proj"}, {"w3", "up_proj"}}),
             "aliases"),
        expected);
    for (const bool aliases : {false, true}) {
      TinyCheckpoint each = without_experts();
      add_all(each, aliases ? "gate_proj" : "w1", experts.at("w1"));
      add_all(each, aliases ? "up_proj" : "w3", experts.at("w3"));
      add_all(each, aliases ? "down_proj" : "w2", experts.at("w2"));
      EXPECT_EQ(read(each, "a tensor a projection"), expected);
      TinyCheckpoint both = without_experts();
      add_all(both, aliases ? "gate_up_proj" : "w13", gate_and_up(experts));
      add_all(both, aliases ? "down_proj" : "w2", experts.at("w2"));
      EXPECT_EQ(read(both, "gate and up in one"), expected);
    }
  }
}

TEST_F(ModulePlaceTest, ATensorMayHaveNoSuffix) {
  const Experts experts = make_experts(dense);
  const auto expected =
      read(one_by_one(experts, {{"w1", "w1"}, {"w2", "w2"}, {"w3", "w3"}}), "own names");
  TinyCheckpoint bare = without_experts();
  add_all(bare, "gate_up_proj", gate_and_up(experts), true);
  add_all(bare, "down_proj", experts.at("w2"), true);
  EXPECT_EQ(read(bare, "bare"), expected);
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint);
  EXPECT_THAT(checkpoint->weight_tensors(kExperts + ".1.w3"),
              ElementsAre(kExperts + ".gate_up_proj"));
}

TEST_F(ModulePlaceTest, NumbersOfGateAndUpMayDiffer) {
  const Experts experts = make_experts(nvfp4);
  TinyCheckpoint both = without_experts();
  add_all(both, "w13", gate_and_up(experts));
  add_all(both, "w2", experts.at("w2"));
  Tensor& scales = both.tensors[kExperts + ".w13.weight_global_scale"];
  scales = {DType::f32, {2, 2}, std::string("\0\0\x80\x3F\0\0\0\x40\0\0\x80\x40\0\0\0\x41", 16)};
  both.write(folder_);
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->matrix(kExperts + ".0.w1", 16, 32)->global_scale, 1.0f);
  EXPECT_EQ(checkpoint->matrix(kExperts + ".0.w3", 16, 32)->global_scale, 2.0f);
  EXPECT_EQ(checkpoint->matrix(kExperts + ".1.w1", 16, 32)->global_scale, 4.0f);
  EXPECT_EQ(checkpoint->matrix(kExperts + ".1.w3", 16, 32)->global_scale, 8.0f);
}

TEST_F(ModulePlaceTest, RefusesWhatCannotBeCut) {
  const Experts experts = make_experts(mxfp4_16);
  TinyCheckpoint both = without_experts();
  add_all(both, "w13", gate_and_up(experts));
  add_all(both, "w2", experts.at("w2"));
  TinyCheckpoint few = both;
  few.config["num_local_experts"] = 3;
  expect_matrix_fails(folder_, few, kExperts + ".0.w1", 16, 32,
                      {"w13.weight_packed has shape [2, 32, 16]", "each of 3 experts"});
  TinyCheckpoint odd = both;
  odd.add_zeros(kExperts + ".w13.weight_packed", DType::u8, {2, 30, 16});
  expect_matrix_fails(folder_, odd, kExperts + ".0.w3", 16, 32,
                      {"w13.weight_packed has 30 rows", "16 of gate and 16 of up"});
  // Blocks of 128 that end between gate and up.
  TinyCheckpoint blocks = without_experts();
  blocks.add_zeros(kExperts + ".w13.weight", DType::f8_e4m3, {2, 240, 32});
  blocks.add_zeros(kExperts + ".w13.weight_scale_inv", DType::f32, {2, 2, 1});
  expect_matrix_fails(folder_, blocks, kExperts + ".0.w3", 120, 32,
                      {"weight_scale_inv has 2 rows"});
  TinyCheckpoint flat = without_experts();
  flat.add_zeros(kExperts + ".w2.weight", DType::bf16, {32, 16});
  expect_matrix_fails(folder_, flat, kExperts + ".1.w2", 32, 16, {"w2.weight has shape [32, 16]"});
  TinyCheckpoint zero_points = both;
  zero_points.add_zeros(kExperts + ".w13.weight_zero_point", DType::i32, {2, 4, 2});
  expect_matrix_fails(folder_, zero_points, kExperts + ".0.w1", 16, 32,
                      {"weight_zero_point has 4 rows"});
}

TEST_F(ModulePlaceTest, RefusesExpertsOfGptOssByName) {
  TinyCheckpoint tiny = without_experts();
  tiny.add_zeros(kExperts + ".gate_up_proj_blocks", DType::u8, {2, 32, 1, 16});
  tiny.add_zeros(kExperts + ".gate_up_proj_scales", DType::u8, {2, 32, 1});
  expect_matrix_fails(folder_, tiny, kExperts + ".0.w1", 16, 32,
                      {kExperts + ".gate_up_proj_blocks", "gpt-oss"});
}

TEST_F(ModulePlaceTest, WhatIsThereTwiceIsAStray) {
  const Experts experts = make_experts(dense);
  TinyCheckpoint tiny = one_by_one(experts, {{"w1", "w1"}, {"w2", "w2"}, {"w3", "w3"}});
  add_all(tiny, "w2", experts.at("w2"));
  tiny.write(folder_);
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint);
  EXPECT_THAT(stray_tensors(*checkpoint), ElementsAre(kExperts + ".w2.weight"));
}

TEST_F(ModulePlaceTest, NamesTheTensorsOfAWeight) {
  TinyCheckpoint tiny;
  const std::string k = "model.layers.0.self_attn.k_proj";
  tiny.add_zeros(k + ".k_scale", DType::f32, {});
  tiny.add_zeros(k + ".input_scale", DType::f32, {});
  tiny.write(folder_);
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint);
  EXPECT_THAT(checkpoint->weight_tensors(k),
              UnorderedElementsAre(k + ".weight", k + ".input_scale"));
  EXPECT_THAT(checkpoint->weight_tensors("model.layers.7.x"), ElementsAre());
}

}  // namespace
}  // namespace tetrad
