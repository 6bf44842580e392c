#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "base/pending_file.h"
#include "checkpoint/safetensors.h"
#include "model/cpu_model.h"
#include "quant/compare_models.h"
#include "quant/perplexity.h"
#include "quant/random_model_for_tests.h"

namespace tetrad {
namespace {

namespace fs = std::filesystem;
using namespace random_model_for_tests;

TEST(CompareDistributions, OfHalvesAndQuartersIsAQuarterOfLog2) {
  // log p + 3 and log q - 7: what is added to all logits of a row does not matter.
  const float ln2 = std::log(2.0f);
  const std::vector<float> p = {3 - ln2, 3 - 2 * ln2, 3 - 2 * ln2};
  const std::vector<float> q = {-7 - 2 * ln2, -7 - 2 * ln2, -7 - ln2};
  const DistributionDifference found = compare_distributions(p, q, 2);
  EXPECT_NEAR(found.kl, std::log(2.0) / 4, 1e-6);
  EXPECT_NEAR(found.nll, std::log(2.0), 1e-6);
  EXPECT_NEAR(found.reference_nll, std::log(4.0), 1e-6);
  EXPECT_NEAR(found.probability_difference(), 0.25, 1e-6);
  EXPECT_EQ(found.top, 2);
  EXPECT_EQ(found.reference_top, 0);
  EXPECT_NEAR(found.top_probability, 0.5, 1e-6);
  EXPECT_NEAR(found.reference_top_probability, 0.5, 1e-6);
}

/// Logits that are exact in float; the figures are from 50-digit decimal arithmetic.
TEST(CompareDistributions, AgreesWithExactArithmetic) {
  std::vector<float> p;
  std::vector<float> q;
  for (int i = 0; i < 1000; ++i) {
    p.push_back(static_cast<float>(i * 37 % 101) / 16);
    q.push_back(static_cast<float>(i * 53 % 97) / 16);
  }
  const DistributionDifference found = compare_distributions(p, q, 7);
  EXPECT_NEAR(found.kl, 2.08140374455279948, 1e-13);
  EXPECT_NEAR(found.nll, 6.12794213767211676, 1e-13);
  EXPECT_NEAR(found.reference_nll, 7.78423690077101207, 1e-13);
  EXPECT_NEAR(found.probability_difference(), 0.00176481983138068, 1e-15);
  EXPECT_NEAR(found.top_probability, 0.00592874847690649, 1e-14);
  EXPECT_NEAR(found.reference_top_probability, 0.00611667334838642, 1e-14);
}

TEST(CompareDistributions, OfEqualRowsIsExactlyNothing) {
  std::vector<float> row;
  for (int i = 0; i < 5000; ++i)
    row.push_back(std::sin(static_cast<float>(i)) * 20);
  const DistributionDifference found = compare_distributions(row, row, 4999);
  EXPECT_EQ(found.kl, 0);
  EXPECT_EQ(found.nll, found.reference_nll);
  EXPECT_EQ(found.probability_difference(), 0);
  EXPECT_EQ(found.top, found.reference_top);
  EXPECT_GT(found.nll, 0);
}

TEST(CompareDistributions, NoticesWhatIsNotFinite) {
  const std::vector<float> good = {1, 2, 3};
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const std::vector<float> row = {1, bad, 3};
    EXPECT_FALSE(compare_distributions(good, row, 0).is_finite());
    EXPECT_FALSE(compare_distributions(row, good, 0).is_finite());
  }
  EXPECT_TRUE(compare_distributions(good, good, 0).is_finite());
}

TEST(CompareStatistics, MeansAndQuantilesAreNumpys) {
  MeanOf mean;
  for (const double value : {3, 1, 4, 1, 5, 9, 2, 6})
    mean.add(value);
  EXPECT_DOUBLE_EQ(mean.mean(), 3.875);
  EXPECT_DOUBLE_EQ(mean.standard_error(), 0.97169770431519931);
  EXPECT_EQ(MeanOf().mean(), 0);
  EXPECT_EQ(MeanOf().standard_error(), 0);
  const std::vector<double> ascending = {1, 1, 2, 3, 4, 5, 6, 9};
  EXPECT_EQ(quantile(ascending, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(ascending, 0.5), 3.5);
  EXPECT_DOUBLE_EQ(quantile(ascending, 0.99), 8.79);
  EXPECT_DOUBLE_EQ(quantile(ascending, 0.999), 8.979);
  EXPECT_EQ(quantile(ascending, 1), 9);
  EXPECT_EQ(quantile({}, 0.5), 0);
}

TEST(CompareStatistics, CountsAgreementAndProbabilities) {
  TextStatistics text;
  const double ln2 = std::log(2.0);
  text.add({.kl = 0.5, .nll = ln2, .reference_nll = 2 * ln2, .top = 3, .reference_top = 3});
  text.add({.kl = 0.1, .nll = 2 * ln2, .reference_nll = ln2, .top = 3, .reference_top = 4});
  text.add({.kl = 0.3, .nll = ln2, .reference_nll = ln2, .top = 1, .reference_top = 1});
  EXPECT_EQ(text.num_tokens(), 3);
  EXPECT_DOUBLE_EQ(text.kl.mean(), 0.3);
  EXPECT_DOUBLE_EQ(text.same_top.mean(), 2.0 / 3);
  EXPECT_NEAR(text.probability_difference.mean(), 0, 1e-15);
  EXPECT_DOUBLE_EQ(text.absolute_probability_difference.mean(), 0.5 / 3);
  EXPECT_DOUBLE_EQ(text.rms_probability_difference(), std::sqrt(0.125 / 3));
  EXPECT_NEAR(text.nll_difference.mean(), 0, 1e-15);
  EXPECT_THAT(text.sorted_kl(), testing::ElementsAre(0.1, 0.3, 0.5));
}

TEST(CompareLayers, MeasuresErrorsRelativeToTheReference) {
  ModelConfig config;
  config.num_hidden_layers = 2;
  LayerComparer comparer(config);
  const auto show = [](const Observer& observer, std::string_view name, int64_t layer,
                       std::vector<float> values) {
    observer(name, layer, {values.data(), 2, static_cast<int64_t>(values.size()) / 2});
  };
  const Observer record = comparer.record();
  show(record, "embed", -1, {7, 7});
  show(record, "out", 1, {3, 4, 0, 12});
  show(record, "moe_out", 0, {0, 0, 0, 0});
  show(record, "router_index", 0, {5, 2, 1, 0});
  const Observer compare = comparer.compare();
  show(compare, "embed", -1, {8, 8});
  show(compare, "out", 1, {3, 4.5f, 0, 13.2f});
  show(compare, "moe_out", 0, {0, 0, 0, 0});
  show(compare, "router_index", 0, {2, 5, 1, 3});
  ASSERT_EQ(comparer.layers().size(), 2u);
  const LayerDifference& first = comparer.layers()[0];
  EXPECT_EQ(first.share_of_same_experts(), 0.5);  // the order of a token's experts is no difference
  EXPECT_EQ(first.outputs[1].relative(), 0);
  EXPECT_NEAR(comparer.layers()[1].outputs[2].relative(), 0.1, 1e-7);  // sqrt(1.69) / 13
  show(comparer.compare(), "moe_out", 0, {0, 0, 0, 1});
  EXPECT_TRUE(std::isinf(comparer.layers()[0].outputs[1].relative()));
}

class CompareModelsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              fmt::format("compare_test_{}_{}", ::getpid(),
                          testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::unique_ptr<MiniMaxM2> load(const Tensors& weights, std::string_view config = kConfig) const {
    EXPECT_TRUE(write_text_file(folder_ / "config.json", std::string(config) + "}"));
    std::vector<TensorToWrite> tensors;
    for (const auto& [name, tensor] : weights)
      tensors.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
    EXPECT_TRUE(write_safetensors(folder_ / "model.safetensors", tensors));
    auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(folder_).value());
    return MiniMaxM2::load(std::move(checkpoint), make_reference_kernels()).value();
  }

  /// Weights that differ a little from those of random_model in one module.
  static Tensors disturbed(const std::string& module) {
    Tensors weights = random_model(DType::f32);
    auto& bytes = weights.at(module + ".weight").bytes;
    for (size_t i = 0; i < bytes.size(); i += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, &bytes[i], sizeof value);
      value += 0.01f;
      std::memcpy(&bytes[i], &value, sizeof value);
    }
    return weights;
  }

  const std::vector<std::vector<int32_t>> texts_ = {
      {5, 0, 23, 11, 7, 7, 2, 19, 4, 1, 8, 3, 13, 22, 6, 6, 9}, {1, 2, 3, 4, 5}};
  const KvCacheFormat float_cache_{DType::f32, {}};
  fs::path folder_;
};

TEST_F(CompareModelsTest, AModelHasNoDifferenceFromItself) {
  const auto model = load(random_model(DType::f32));
  const auto twin = load(random_model(DType::f32));
  const auto found = compare_models({*model, float_cache_}, {*twin, float_cache_}, texts_,
                                    {.window = 8, .num_worst = 3});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->all.num_tokens(), 7 + 7 + 4);  // a last window of one token predicts nothing
  EXPECT_EQ(found->texts.at(1).num_tokens(), 4);
  EXPECT_EQ(found->all.kl.mean(), 0);
  EXPECT_EQ(found->all.sorted_kl().back(), 0);
  EXPECT_EQ(found->all.same_top.mean(), 1);
  EXPECT_EQ(found->all.rms_probability_difference(), 0);
  for (const LayerDifference& layer : found->layers) {
    EXPECT_EQ(layer.tokens, 18);
    EXPECT_EQ(layer.share_of_same_experts(), 1);
    for (const SquaredError& output : layer.outputs) {
      EXPECT_EQ(output.relative(), 0);
      EXPECT_GT(output.reference, 0);
    }
  }
  // Perplexity has the same positions.
  CpuModel on_cpu(*model, float_cache_);
  const Perplexity first = evaluate_perplexity(on_cpu, texts_[0], 8).value();
  EXPECT_EQ(found->texts[0].nll.mean(), first.mean_nll);
  EXPECT_EQ(found->texts[0].num_tokens(), first.num_tokens);
  // Of equal divergences, the first.
  ASSERT_EQ(found->worst.size(), 3u);
  EXPECT_EQ(found->worst[2].index, 3);
}

TEST_F(CompareModelsTest, FindsWhereTheModelsPart) {
  const auto model = load(disturbed("model.layers.1.block_sparse_moe.experts.0.w2"));
  const auto reference = load(random_model(DType::f32));
  const auto found = compare_models({*model, float_cache_}, {*reference, float_cache_}, texts_,
                                    {.window = 8, .num_worst = 100});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_GT(found->all.kl.mean(), 0);
  for (const SquaredError& output : found->layers.at(0).outputs)
    EXPECT_EQ(output.relative(), 0);
  EXPECT_EQ(found->layers.at(1).outputs[0].relative(), 0);
  EXPECT_GT(found->layers.at(1).outputs[1].relative(), 0);
  EXPECT_GT(found->layers.at(1).outputs[2].relative(), 0);
  ASSERT_EQ(found->worst.size(), 18u);
  EXPECT_EQ(found->worst[0].difference.kl, found->all.sorted_kl().back());
  for (size_t i = 1; i < found->worst.size(); ++i)
    EXPECT_GE(found->worst[i - 1].difference.kl, found->worst[i].difference.kl);
  // What stands at a position in all windows: 3 windows at 0, 2 at 6.
  ASSERT_EQ(found->kl_by_position.size(), 7u);
  EXPECT_EQ(found->kl_by_position[0].count(), 3);
  EXPECT_EQ(found->kl_by_position[6].count(), 2);
}

TEST_F(CompareModelsTest, TokensAtOnceDoNotShow) {
  const auto model = load(disturbed("model.layers.0.self_attn.v_proj"));
  const auto reference = load(random_model(DType::f32));
  const auto compare = [&](int64_t tokens_at_once) {
    return compare_models({*model, float_cache_}, {*reference, float_cache_}, texts_,
                          {.window = 16, .tokens_at_once = tokens_at_once})
        .value();
  };
  const ModelComparison whole = compare(0);
  EXPECT_GT(whole.all.kl.mean(), 0);
  for (const int64_t tokens : {1, 3, 7, 15}) {
    const ModelComparison cut = compare(tokens);
    EXPECT_EQ(cut.all.sorted_kl(), whole.all.sorted_kl());
    EXPECT_EQ(cut.all.nll.mean(), whole.all.nll.mean());
    for (size_t layer = 0; layer < whole.layers.size(); ++layer) {
      for (size_t i = 0; i < kComparedOutputs.size(); ++i) {
        EXPECT_EQ(cut.layers[layer].outputs[i].relative(),
                  whole.layers[layer].outputs[i].relative());
      }
      EXPECT_EQ(cut.layers[layer].same_experts, whole.layers[layer].same_experts);
    }
  }
}

TEST_F(CompareModelsTest, RefusesWhatCannotBeCompared) {
  const auto model = load(random_model(DType::f32));
  const auto twin = load(random_model(DType::f32));
  const auto compare = [&](MiniMaxM2& reference, std::vector<std::vector<int32_t>> texts,
                           int64_t window) {
    return compare_models({*model, float_cache_}, {reference, float_cache_}, texts,
                          {.window = window});
  };
  for (const int64_t window : {0, 1, 65}) {
    const auto refused = compare(*twin, texts_, window);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().param, "--window");
  }
  EXPECT_FALSE(compare(*twin, {}, 8));
  EXPECT_FALSE(compare(*twin, {{1}}, 8));
  EXPECT_FALSE(compare(*twin, {{1, 24}}, 8));

  std::string config(kConfig);
  config.replace(config.find("\"num_hidden_layers\": 2"), 22, "\"num_hidden_layers\": 1");
  Tensors one_layer = random_model(DType::f32);
  std::erase_if(one_layer, [](const auto& item) {
    return item.first.find(".layers.1.") != std::string::npos;
  });
  const auto shallow = load(one_layer, config);
  const auto refused = compare(*shallow, texts_, 8);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().param, "--against");
  EXPECT_THAT(refused.error().message, testing::HasSubstr("2 layers and the reference 1"));

  Tensors broken = random_model(DType::f32);
  std::ranges::fill(broken.at("lm_head.weight").bytes, std::byte{0xFF});
  const auto damaged = load(broken);
  const auto nan = compare(*damaged, texts_, 8);
  ASSERT_FALSE(nan);
  EXPECT_THAT(nan.error().message, testing::HasSubstr("token 1 of text 1"));
}

}  // namespace
}  // namespace tetrad
