// The KV cache's formats: which are made, with which scales, and what they do to a forward pass.

#include "model/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "checkpoint/tiny_checkpoint_for_tests.h"
#include "model/kv_cache_format.h"
#include "model/sequence_runner.h"

namespace tetrad {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class KvCacheTest : public testing::Test {
 protected:
  KvCacheTest() : folder_(folder_of_this_test()) {}
  ~KvCacheTest() override { std::filesystem::remove_all(folder_); }

  void add_scale(const std::string& name, float scale) {
    std::string bytes(sizeof scale, '\0');
    std::memcpy(bytes.data(), &scale, sizeof scale);
    tiny_.tensors["model.layers.0.self_attn." + name] = {DType::f32, {1}, std::move(bytes)};
  }

  MiniMaxM2& load() {
    tiny_.write(folder_);
    auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(folder_).value());
    model_ = MiniMaxM2::load(std::move(checkpoint), make_reference_kernels()).value();
    return *model_;
  }

  TinyCheckpoint tiny_;
  const std::filesystem::path folder_;
  std::unique_ptr<MiniMaxM2> model_;
};

TEST_F(KvCacheTest, TakesAByteForEachElementOfE4m3) {
  const ModelConfig& config = load().config();
  // Keys and values of 16 tokens, one head of 16.
  EXPECT_EQ(KvCache::block_bytes(config, DType::f8_e4m3), 2 * 16 * 16);
  EXPECT_EQ(KvCache::block_bytes(config, DType::bf16), 2 * 16 * 16 * 2);
  const KvScales scales{0.5f, 3.0f};
  const auto cache = KvCache::create(config, DType::f8_e4m3, 4, {&scales, 1});
  ASSERT_TRUE(cache) << cache.error().message;
  EXPECT_EQ(cache->layer(0).v - cache->layer(0).k, 4 * 16 * 16);
  EXPECT_EQ(cache->layer(0).k_scale, 0.5f);
  EXPECT_EQ(cache->layer(0).v_scale, 3.0f);
}

TEST_F(KvCacheTest, RefusesScalesThatDoNotFit) {
  const ModelConfig& config = load().config();
  const KvScales two[] = {{}, {}};
  EXPECT_FALSE(KvCache::create(config, DType::f8_e4m3, 4));
  EXPECT_FALSE(KvCache::create(config, DType::f8_e4m3, 4, two));
  EXPECT_FALSE(KvCache::create(config, DType::bf16, 4, {two, 1}));
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    const KvScales scales{1.0f, bad};
    EXPECT_FALSE(KvCache::create(config, DType::f8_e4m3, 4, {&scales, 1})) << bad;
  }
  EXPECT_FALSE(KvCache::create(config, DType::f16, 4));
}

TEST_F(KvCacheTest, ScalesComeFromTheCheckpoint) {
  add_scale("k_proj.k_scale", 0.25f);
  add_scale("v_proj.v_scale", 0.75f);
  const MiniMaxM2& model = load();
  EXPECT_EQ(auto_kv_cache_dtype(model.kv_scales()), DType::f8_e4m3);
  EXPECT_THAT(resolve_kv_scales(model.kv_scales(), DType::f8_e4m3, std::nullopt).value(),
              ElementsAre(KvScales{0.25f, 0.75f}));
  EXPECT_THAT(resolve_kv_scales(model.kv_scales(), DType::bf16, std::nullopt).value(), IsEmpty());
  EXPECT_THAT(resolve_kv_scales(model.kv_scales(), DType::f8_e4m3, 2.0f).value(),
              ElementsAre(KvScales{2.0f, 2.0f}));
}

TEST_F(KvCacheTest, Fp8WithoutScalesIsRefusedUnlessAScaleIsGiven) {
  const MiniMaxM2& model = load();
  EXPECT_EQ(auto_kv_cache_dtype(model.kv_scales()), DType::bf16);
  const auto refused = resolve_kv_scales(model.kv_scales(), DType::f8_e4m3, std::nullopt);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().param, "--kv-cache-dtype");
  EXPECT_THAT(refused.error().message, AllOf(HasSubstr("--kv-scale 1.0"), HasSubstr("0 of its 1")));
  EXPECT_THAT(resolve_kv_scales(model.kv_scales(), DType::f8_e4m3, 1.0f).value(),
              ElementsAre(KvScales{}));
}

TEST_F(KvCacheTest, TheRefusalSaysWhyAScaleDoesNotCount) {
  add_scale("kv_scale", -1.0f);
  const auto refused = resolve_kv_scales(load().kv_scales(), DType::f8_e4m3, std::nullopt);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("kv_scale\" holds -1"));
}

TEST_F(KvCacheTest, RefusesAScaleThatNothingUses) {
  const MiniMaxM2& model = load();
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()})
    EXPECT_FALSE(resolve_kv_scales(model.kv_scales(), DType::f8_e4m3, bad)) << bad;
  const auto unused = resolve_kv_scales(model.kv_scales(), DType::bf16, 1.0f);
  ASSERT_FALSE(unused);
  EXPECT_EQ(unused.error().param, "--kv-scale");
  EXPECT_THAT(unused.error().message, HasSubstr("BF16"));
}

TEST_F(KvCacheTest, TheConfigAloneMakesAutoFp8) {
  tiny_.config["quantization_config"] = *parse_json(
      R"({"quant_method": "mxfp4_16", "kv_cache_scheme": {"num_bits": 8, "type": "float"}})");
  EXPECT_EQ(auto_kv_cache_dtype(load().kv_scales()), DType::f8_e4m3);
}

/// With one token attention returns its value: what is observed as "v", rounded as the scale says.
TEST_F(KvCacheTest, ASequenceRunsOverE4m3) {
  const auto fill = [&](const std::string& name, uint16_t bf16) {
    std::string& bytes = tiny_.tensors.at(name).bytes;
    for (size_t i = 0; i < bytes.size(); i += sizeof bf16)
      std::memcpy(bytes.data() + i, &bf16, sizeof bf16);
  };
  fill("model.embed_tokens.weight", 0x3F80);               // 1
  fill("model.layers.0.input_layernorm.weight", 0x3F80);   // so its norm is 1
  fill("model.layers.0.self_attn.v_proj.weight", 0x3D28);  // 0.041015625 * 32 = 1.3125
  fill("model.layers.0.self_attn.o_proj.weight", 0x3D00);  // 1/32: the mean over 2 heads
  MiniMaxM2& model = load();
  float v = 0;
  float attn_out = 0;
  const Observer observer = [&](std::string_view name, int64_t, Activations tensor) {
    if (name == "v") v = tensor.data[0];
    if (name == "attn_out") attn_out = tensor.data[0];
  };
  const int32_t id = 3;
  const auto run = [&](const KvCacheFormat& format) {
    auto runner = SequenceRunner::create(model, format, 16).value();
    ASSERT_TRUE(runner.append({&id, 1}, SequenceRunner::Logits::last_token, &observer));
  };
  run({DType::f32, {}});
  EXPECT_NEAR(v, 1.3125f, 1e-5f);
  EXPECT_NEAR(attn_out, 1.3125f, 1e-5f);
  run({DType::f8_e4m3, {KvScales{1.0f, 1.0f}}});
  EXPECT_NEAR(attn_out, 1.25f, 1e-5f);  // half-way to 1.375: to even
  run({DType::f8_e4m3, {KvScales{1.0f, 1.3125f / 448}}});
  EXPECT_NEAR(attn_out, 1.3125f, 1e-5f);
  run({DType::f8_e4m3, {KvScales{1.0f, 1.0f / 448}}});
  EXPECT_NEAR(attn_out, 1.0f, 1e-5f);  // saturated
}

}  // namespace
}  // namespace tetrad
