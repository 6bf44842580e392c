#include "checkpoint/kv_scales.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "checkpoint/tiny_checkpoint_for_tests.h"

namespace tetrad {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kAttention = "model.layers.0.self_attn.";

class KvScalesTest : public testing::Test {
 protected:
  KvScalesTest() : folder_(folder_of_this_test()) {}
  ~KvScalesTest() override { std::filesystem::remove_all(folder_); }

  void add(const std::string& name, const std::vector<float>& values,
           std::vector<int64_t> shape = {1}) {
    std::string bytes(values.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    tiny_.tensors[kAttention + name] = {DType::f32, std::move(shape), std::move(bytes)};
  }
  void add_bits(const std::string& name, DType dtype, uint16_t bits) {
    std::string bytes(sizeof bits, '\0');
    std::memcpy(bytes.data(), &bits, sizeof bits);
    tiny_.tensors[kAttention + name] = {dtype, {}, std::move(bytes)};
  }

  CheckpointKvScales read() const {
    tiny_.write(folder_);
    const auto checkpoint = Checkpoint::open(folder_);
    if (!checkpoint) {
      ADD_FAILURE() << checkpoint.error().message;
      return {};
    }
    return read_kv_scales(*checkpoint);
  }

  void expect(float k, float v) const {
    const CheckpointKvScales found = read();
    EXPECT_THAT(found.layers, ElementsAre(KvScales{k, v}));
    EXPECT_THAT(found.warnings, IsEmpty());
  }
  void expect_warned(std::optional<KvScales> scales, const std::string& part) const {
    const CheckpointKvScales found = read();
    EXPECT_THAT(found.layers, ElementsAre(scales));
    EXPECT_THAT(found.warnings, testing::Contains(HasSubstr(part)));
  }

  TinyCheckpoint tiny_;
  const std::filesystem::path folder_;
};

TEST_F(KvScalesTest, AreMissingFromAnOrdinaryCheckpoint) {
  const CheckpointKvScales found = read();
  EXPECT_THAT(found.layers, ElementsAre(std::nullopt));
  EXPECT_THAT(found.warnings, IsEmpty());
  EXPECT_FALSE(found.announced);
  EXPECT_EQ(found.num_layers_with_scales(), 0);
}

/// The list of mxfp4_16 spec, section 5.
TEST_F(KvScalesTest, AreFoundUnderEveryPairOfNames) {
  const std::pair<const char*, const char*> every_pair[] = {
      {"k_scale", "v_scale"},
      {"attn.k_scale", "attn.v_scale"},
      {"k_proj.k_scale", "v_proj.v_scale"},
      {"k_proj.output_scale", "v_proj.output_scale"}};
  const auto without = tiny_.tensors;
  for (const auto& [k, v] : every_pair) {
    tiny_.tensors = without;
    add(k, {0.125f});
    add(v, {3.0f});
    expect(0.125f, 3.0f);
  }
}

TEST_F(KvScalesTest, KvScaleStandsForBothAndForWhatIsMissing) {
  add("kv_scale", {0.5f});
  expect(0.5f, 0.5f);
  add("v_scale", {2.0f});
  expect(0.5f, 2.0f);
}

TEST_F(KvScalesTest, TakeEveryDtypeAndShapeOfOneElement) {
  add_bits("k_scale", DType::f16, 0x3800);   // 0.5
  add_bits("v_scale", DType::bf16, 0x3E80);  // 0.25
  expect(0.5f, 0.25f);
  add("k_scale", {7.0f}, {});
  add("v_scale", {9.0f}, {1, 1});
  expect(7.0f, 9.0f);
}

TEST_F(KvScalesTest, ScalesOfQueriesAndProbabilitiesAreNoneOfTheCache) {
  add("q_scale", {0.5f});
  add("prob_scale", {0.5f});
  EXPECT_THAT(read().layers, ElementsAre(std::nullopt));
}

TEST_F(KvScalesTest, OneOfTwoIsUsedForBoth) {
  add("v_scale", {2.0f});
  expect_warned(KvScales{2.0f, 2.0f}, "used for both");
  add("k_scale", {0.0f});
  expect_warned(KvScales{2.0f, 2.0f}, "k_scale\" holds 0");
}

TEST_F(KvScalesTest, WhatIsNoPositiveNumberCountsAsMissing) {
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    add("k_scale", {bad});
    add("v_scale", {bad});
    expect_warned(std::nullopt, "no positive number");
  }
}

TEST_F(KvScalesTest, OtherShapesAndDtypesCountAsMissing) {
  add("k_scale", {1, 2, 3}, {3});
  expect_warned(std::nullopt, "k_scale\" F32 [3]");
  tiny_.add_zeros(kAttention + "k_scale", DType::i32, {1});
  expect_warned(std::nullopt, "k_scale\" I32 [1]");
}

TEST_F(KvScalesTest, OfSeveralHeadsTheLargestCounts) {
  tiny_.config["num_key_value_heads"] = 2;
  for (const char* module : {"k_proj", "v_proj"})
    tiny_.add_zeros(kAttention + module + ".weight", DType::bf16, {32, 32});
  tiny_.add_zeros(kAttention + "k_norm.weight", DType::bf16, {32});
  add("k_scale", {0.25f, 0.75f}, {2});
  add("v_scale", {3.0f, 2.0f}, {2});
  expect_warned(KvScales{0.75f, 3.0f}, "the largest");
  add("v_scale", {3.0f, -2.0f}, {2});
  expect_warned(KvScales{0.75f, 0.75f}, "-2");
}

TEST_F(KvScalesTest, NamesThatContradictEachOtherLeaveNoScale) {
  add("k_scale", {0.5f});
  add("k_proj.k_scale", {0.5f});
  add("v_scale", {0.5f});
  expect(0.5f, 0.5f);
  add("k_proj.k_scale", {0.25f});
  const CheckpointKvScales found = read();
  EXPECT_THAT(found.layers, ElementsAre(std::nullopt));
  EXPECT_THAT(found.warnings,
              ElementsAre(AllOf(HasSubstr("k_proj.k_scale"), HasSubstr("self_attn.k_scale"))));
}

TEST_F(KvScalesTest, OtherLayersScalesAreSkipped) {
  add("k_scale", {0.5f});
  add("v_scale", {0.5f});
  for (const char* layer : {"1", "-1", "99999999"}) {
    tiny_.tensors[std::string("model.layers.") + layer + ".self_attn.k_scale"] =
        tiny_.tensors[kAttention + "k_scale"];
  }
  expect(0.5f, 0.5f);
}

TEST_F(KvScalesTest, TheConfigMayAnnounceThem) {
  tiny_.config["quantization_config"] = *parse_json(R"({"quant_method": "mxfp4_16",
                      "kv_cache_scheme": {"num_bits": 8, "type": "float"}})");
  EXPECT_TRUE(read().announced);
}

}  // namespace
}  // namespace tetrad
