#include "quant/calibration_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "model/sequence_runner.h"

namespace tetrad {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kWindow = 24;  // no multiple of a KV block

std::shared_ptr<const Checkpoint> bundled_checkpoint() {
  static const auto checkpoint = std::make_shared<const Checkpoint>(
      Checkpoint::open(fs::path(TETRAD_SOURCE_DIR) / "models" / "tetrad-demo-mxfp4_16").value());
  return checkpoint;
}

std::shared_ptr<MiniMaxM2> bundled_model() {
  std::shared_ptr<Kernels> kernels = make_cpu_kernels(std::make_shared<ThreadPool>(2)).value();
  return MiniMaxM2::load(bundled_checkpoint(), std::move(kernels)).value();
}

std::vector<int32_t> some_ids(size_t count) {
  std::vector<int32_t> ids(count);
  for (size_t i = 0; i < count; ++i)
    ids[i] = static_cast<int32_t>((i * 7919 + 13) % 6000);
  return ids;
}

std::unique_ptr<CalibrationRun> run_of(const std::shared_ptr<MiniMaxM2>& model, size_t num_tokens,
                                       int64_t min_expert_tokens) {
  return CalibrationRun::create(model, bundled_checkpoint(), some_ids(num_tokens),
                                {.window = kWindow, .min_expert_tokens = min_expert_tokens})
      .value();
}

using Seen = std::map<std::pair<std::string, int64_t>, std::vector<float>>;

/// What an observer sees when the model reads the same windows one by one, all layers at once.
Seen whole_passes(MiniMaxM2& model, const std::vector<int32_t>& ids) {
  Seen seen;
  const Observer observer = [&](std::string_view name, int64_t layer, Activations tensor) {
    auto& all = seen[{std::string(name), layer}];
    all.insert(all.end(), tensor.data, tensor.data + tensor.rows * tensor.cols);
  };
  SequenceRunner runner = SequenceRunner::create(model, {DType::f32, {}}, kWindow).value();
  for (size_t begin = 0; begin < ids.size(); begin += kWindow) {
    runner.reset();
    const size_t count = std::min<size_t>(kWindow, ids.size() - begin);
    EXPECT_TRUE(runner.append(std::span(ids).subspan(begin, count),
                              SequenceRunner::Logits::last_token, &observer));
  }
  return seen;
}

std::vector<float> values_of(const ModuleInputs& inputs) {
  const Activations rows = inputs.rows();
  return {rows.data, rows.data + rows.rows * rows.cols};
}

TEST(CalibrationRun, SeesWhatAForwardPassComputes) {
  const auto model = bundled_model();
  const std::vector<int32_t> ids = some_ids(100);  // the last window is shorter
  const Seen seen = whole_passes(*model, ids);
  const auto run = run_of(model, 100, 0);
  for (const int64_t layer : {int64_t{0}, int64_t{1}, int64_t{5}}) {
    ASSERT_TRUE(run->run_to(layer));
    EXPECT_EQ(run->layer(), layer);
    EXPECT_EQ(values_of(run->attention_inputs()), seen.at({"attn_in", layer}));
    EXPECT_EQ(values_of(run->output_inputs()), seen.at({"attended", layer}));

    KvRange range;
    std::vector<float> k = seen.at({"k", layer});
    std::vector<float> v = seen.at({"v", layer});
    range.see_keys({k.data(), 1, static_cast<int64_t>(k.size())});
    range.see_values({v.data(), 1, static_cast<int64_t>(v.size())});
    EXPECT_EQ(run->kv_scales().value(), range.scales(layer).value());
  }
}

TEST(CalibrationRun, GivesEachExpertItsTokensTimesTheirWeights) {
  const auto model = bundled_model();
  const ModelConfig& config = model->config();
  const Seen seen = whole_passes(*model, some_ids(100));
  const auto run = run_of(model, 100, 0);
  ASSERT_TRUE(run->run_to(2));
  const auto& moe_in = seen.at({"moe_in", 2});
  const auto& index = seen.at({"router_index", 2});
  const auto& weights = seen.at({"router_weights", 2});
  const auto top_k = static_cast<size_t>(config.num_experts_per_tok);
  const auto hidden = static_cast<size_t>(config.hidden_size);
  size_t total = 0;
  for (int64_t expert = 0; expert < config.num_local_experts; ++expert) {
    std::vector<float> expected;
    for (size_t choice = 0; choice < index.size(); ++choice) {
      if (index[choice] != static_cast<float>(expert)) continue;
      for (size_t k = 0; k < hidden; ++k)
        expected.push_back(moe_in[choice / top_k * hidden + k] * weights[choice]);
    }
    EXPECT_EQ(values_of(run->expert_inputs(expert)), expected) << expert;
    EXPECT_EQ(static_cast<size_t>(run->routed_tokens(expert)) * hidden, expected.size());
    total += static_cast<size_t>(run->routed_tokens(expert));
  }
  EXPECT_EQ(total, 100 * top_k);
}

TEST(CalibrationRun, HiddenValuesOfAnExpertMakeItsOutput) {
  const auto model = bundled_model();
  const auto run = run_of(model, 60, 0);
  ASSERT_TRUE(run->run_to(1));
  ThreadPool pool(2);
  const ModuleInputs inputs = run->expert_inputs(3);
  const ModuleInputs hidden = run->expert_hidden(3, pool);
  ASSERT_GT(inputs.rows().rows, 0);
  ASSERT_EQ(hidden.rows().rows, inputs.rows().rows);
  // silu(w1 x) (w3 x) by the definition, from the weighted inputs: the router's weight, which is
  // common to a row, is found again as a factor.
  const MiniMaxM2Layer& layer = model->layer_weights(1);
  const WeightMatrix& w1 = layer.w1[3];
  std::vector<float> row(static_cast<size_t>(w1.cols));
  const Seen seen = whole_passes(*model, some_ids(60));
  const auto& moe_in = seen.at({"moe_in", 1});
  // The token of row 0: the first that chose the expert.
  const auto& index = seen.at({"router_index", 1});
  const auto top_k = static_cast<size_t>(model->config().num_experts_per_tok);
  const auto choice =
      static_cast<size_t>(std::find(index.begin(), index.end(), 3.0f) - index.begin());
  const float weight = seen.at({"router_weights", 1})[choice];
  const float* x = moe_in.data() + choice / top_k * row.size();
  for (const int64_t n : {int64_t{0}, int64_t{17}, w1.rows - 1}) {
    double gate = 0;
    double up = 0;
    dequantize_row(w1, n, row);
    for (size_t k = 0; k < row.size(); ++k)
      gate += double{row[k]} * x[k];
    dequantize_row(layer.w3[3], n, row);
    for (size_t k = 0; k < row.size(); ++k)
      up += double{row[k]} * x[k];
    const double expected = gate / (1 + std::exp(-gate)) * up * weight;
    EXPECT_NEAR(hidden.rows().row(0)[n], expected, 1e-4 * std::abs(expected) + 1e-6);
  }
}

TEST(CalibrationRun, ARareExpertSeesTheTokensThatCameClosest) {
  const auto model = bundled_model();
  const Seen seen = whole_passes(*model, some_ids(100));
  const auto run = run_of(model, 100, 60);
  ASSERT_TRUE(run->run_to(0));
  const auto& logits = seen.at({"router_logits", 0});
  const auto experts = static_cast<size_t>(model->config().num_local_experts);
  for (size_t expert = 0; expert < experts; ++expert) {
    const auto count = static_cast<int64_t>(expert);
    const int64_t routed = run->routed_tokens(count);
    EXPECT_EQ(run->expert_inputs(count).rows().rows, std::max<int64_t>(routed, 60));
  }
  // All tokens where the text has no more.
  const auto all = run_of(model, 30, 1000);
  ASSERT_TRUE(all->run_to(0));
  EXPECT_EQ(all->expert_inputs(0).rows().rows, 30);
  EXPECT_EQ(logits.size(), 100 * experts);
}

TEST(CalibrationRun, ErrorsSayWhatIsWrong) {
  const auto model = bundled_model();
  const auto error_of = [&](std::vector<int32_t> ids, int64_t window) {
    const auto run =
        CalibrationRun::create(model, bundled_checkpoint(), std::move(ids), {.window = window});
    return run ? std::string() : run.error().message;
  };
  EXPECT_THAT(error_of({}, 16), testing::HasSubstr("empty"));
  EXPECT_THAT(error_of({1, 2}, 0), testing::HasSubstr("window of 0"));
  EXPECT_THAT(error_of({1, 2}, 5000), testing::HasSubstr("4096"));
  EXPECT_THAT(error_of({1, 6144}, 16), testing::HasSubstr("6144"));
  const auto run = run_of(model, 10, 0);
  ASSERT_TRUE(run->run_to(2));
  EXPECT_FALSE(run->run_to(1));
  EXPECT_FALSE(run->run_to(8));
}

}  // namespace
}  // namespace tetrad
