#include "quant/kv_calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/pending_file.h"
#include "quant/random_model_for_tests.h"

namespace tetrad {
namespace {

namespace fs = std::filesystem;
using namespace random_model_for_tests;

class KvCalibrationTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              fmt::format("kv_calibration_test_{}_{}", ::getpid(),
                          testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  MiniMaxM2& load() {
    EXPECT_TRUE(write_text_file(folder_ / "config.json", std::string(kConfig) + "}"));
    std::vector<TensorToWrite> tensors;
    for (const auto& [name, tensor] : weights_)
      tensors.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
    EXPECT_TRUE(write_safetensors(folder_ / "model.safetensors", tensors));
    auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(folder_).value());
    model_ = MiniMaxM2::load(std::move(checkpoint), make_reference_kernels()).value();
    return *model_;
  }

  /// Element i of a float32 tensor.
  double weight(const std::string& name, size_t i) const {
    float value = 0;
    std::memcpy(&value, weights_.at(name).bytes.data() + i * sizeof value, sizeof value);
    return value;
  }

  /// x / sqrt(mean(x^2) + eps) * weight
  std::vector<double> norm(std::vector<double> x, const std::string& name) const {
    double squares = 0;
    for (const double value : x)
      squares += value * value;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + 1e-6);
    for (size_t i = 0; i < x.size(); ++i)
      x[i] *= scale * weight(name, i);
    return x;
  }

  /// What goes into the projections of layer 0, whose input is the embedding.
  std::vector<double> project(int32_t id, const std::string& module) const {
    std::vector<double> x(32);
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = weight("model.embed_tokens.weight", static_cast<size_t>(id) * x.size() + i);
    x = norm(std::move(x), "model.layers.0.input_layernorm.weight");
    std::vector<double> y(16);
    for (size_t n = 0; n < y.size(); ++n) {
      for (size_t i = 0; i < x.size(); ++i)
        y[n] += x[i] * weight("model.layers.0.self_attn." + module + ".weight", n * x.size() + i);
    }
    return y;
  }

  static double amax(const std::vector<double>& values) {
    double largest = 0;
    for (const double value : values)
      largest = std::max(largest, std::abs(value));
    return largest;
  }

  Tensors weights_ = random_model(DType::f32);
  fs::path folder_;
  std::unique_ptr<MiniMaxM2> model_;
};

TEST_F(KvCalibrationTest, ValuesOfTheFirstLayerHaveTheLargestOfAllTokens) {
  const std::vector<int32_t> ids = {5, 0, 23, 11, 7};
  double largest = 0;
  for (const int32_t id : ids)
    largest = std::max(largest, amax(project(id, "v_proj")));
  for (const int64_t window : {1, 2, 64}) {
    const auto scales = calibrate_kv_scales(load(), ids, window);
    ASSERT_TRUE(scales) << scales.error().message;
    ASSERT_EQ(scales->size(), 2u);
    EXPECT_NEAR((*scales)[0].v, largest * 1.10 / 100, 1e-6 * largest);
  }
}

/// RoPE turns nothing at position 0, where every window of one token is.
TEST_F(KvCalibrationTest, KeysAreMeasuredBehindTheirNorm) {
  const std::vector<int32_t> ids = {3, 9, 14};
  double largest = 0;
  for (const int32_t id : ids) {
    largest = std::max(largest,
                       amax(norm(project(id, "k_proj"), "model.layers.0.self_attn.k_norm.weight")));
  }
  const auto scales = calibrate_kv_scales(load(), ids, 1);
  ASSERT_TRUE(scales) << scales.error().message;
  EXPECT_NEAR((*scales)[0].k, largest * 1.10 / 200, 1e-6 * largest);
}

/// At a position where the angle of the first pair is 3 radians, cos and sin have other values.
TEST_F(KvCalibrationTest, KeysAreMeasuredBehindRope) {
  const std::vector<int32_t> ids = {3, 3, 3, 3};
  const auto alone = calibrate_kv_scales(load(), ids, 1);
  const auto together = calibrate_kv_scales(load(), ids, 4);
  ASSERT_TRUE(alone && together);
  EXPECT_GE((*together)[0].k, (*alone)[0].k);  // position 0 is among them
  std::vector<double> key = norm(project(3, "k_proj"), "model.layers.0.self_attn.k_norm.weight");
  double largest = 0;
  for (int position = 0; position < 4; ++position) {
    for (size_t i = 0; i < key.size(); ++i) {
      double value = key[i];
      if (i < 8) {  // rotary_dim 8: pairs (i, i + 4)
        const double angle =
            position * std::pow(5000000.0, -2.0 * static_cast<double>(i % 4) / 8.0);
        value = i < 4 ? key[i] * std::cos(angle) - key[i + 4] * std::sin(angle)
                      : key[i] * std::cos(angle) + key[i - 4] * std::sin(angle);
      }
      largest = std::max(largest, std::abs(value));
    }
  }
  EXPECT_NEAR((*together)[0].k, largest * 1.10 / 200, 1e-6 * largest);
}

TEST_F(KvCalibrationTest, ALayerOfZerosGetsOne) {
  for (auto& [name, tensor] : weights_) {
    if (name.ends_with("k_norm.weight") || name.ends_with("v_proj.weight")) {
      std::ranges::fill(tensor.bytes, std::byte{0});
    }
  }
  const auto scales = calibrate_kv_scales(load(), std::vector<int32_t>{1, 2}, 2);
  ASSERT_TRUE(scales);
  EXPECT_THAT(*scales, testing::Each(KvScales{1.0f, 1.0f}));
}

TEST_F(KvCalibrationTest, RefusesWhatCannotBeMeasured) {
  const std::vector<int32_t> ids = {1, 2};
  EXPECT_FALSE(calibrate_kv_scales(load(), {}, 2));
  EXPECT_FALSE(calibrate_kv_scales(load(), ids, 0));
  EXPECT_FALSE(calibrate_kv_scales(load(), ids, 65));
  EXPECT_FALSE(calibrate_kv_scales(load(), std::vector<int32_t>{24}, 2));
  std::ranges::fill(weights_.at("model.layers.1.self_attn.v_proj.weight").bytes, std::byte{0xFF});
  const auto broken = calibrate_kv_scales(load(), ids, 2);
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, testing::HasSubstr("layer 1"));
}

}  // namespace
}  // namespace tetrad
