// What Hugging Face transformers computed for the BF16 demo model, against this program in float32.
// The full set needs ../shared/models; the repository has the first layer's share of it.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/sanitized_for_tests.h"
#include "checkpoint/checkpoint.h"
#include "kernels/kernels.h"
#include "model/cpu_model.h"
#include "model/minimax_m2.h"
#include "model/sequence_runner.h"
#include "quant/perplexity.h"
#include "text/tokenizer.h"

namespace tetrad {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = TETRAD_SOURCE_DIR;
const fs::path kShared = kSource.parent_path() / "shared" / "models";
constexpr float kTolerance = 1e-3f;

std::shared_ptr<Kernels> make_kernels(const std::string& name) {
  if (name == "reference") return make_reference_kernels();
  auto kernels = make_cpu_kernels(std::make_shared<ThreadPool>(2), name);
  if (!kernels) return nullptr;  // this machine lacks the instruction set
  return std::move(*kernels);
}

struct LoadedTensors {
  MappedFile file;
  TensorMap tensors;

  std::vector<float> floats(const std::string& name) const {
    const TensorView& view = tensors.at(name);
    std::vector<float> values(view.bytes.size() / sizeof(float));
    std::memcpy(values.data(), view.bytes.data(), view.bytes.size());
    return values;
  }
  std::vector<int64_t> integers(const std::string& name) const {
    const TensorView& view = tensors.at(name);
    std::vector<int64_t> values(view.bytes.size() / sizeof(int64_t));
    std::memcpy(values.data(), view.bytes.data(), view.bytes.size());
    return values;
  }
};

LoadedTensors load_tensors(const fs::path& path) {
  LoadedTensors loaded{MappedFile::open(path).value(), {}};
  loaded.tensors = parse_safetensors(loaded.file.bytes()).value();
  return loaded;
}

json::value load_json(const fs::path& path) {
  return parse_json(read_text_file(path).value()).value();
}

std::vector<int32_t> to_ids(const json::value& list) {
  return json::value_to<std::vector<int32_t>>(list);
}

/// The largest difference between a tensor and its golden one, as a multiple of what is allowed:
/// 1e-3, or where that is finer than float32 can tell (the residual stream reaches 7e4, whose last
/// bit is 8e-3), 4e-6 of the tensor's largest value.
float excess(const std::vector<float>& ours, const std::vector<float>& golden) {
  EXPECT_EQ(ours.size(), golden.size());
  float difference = 0;
  float magnitude = 0;
  for (size_t i = 0; i < std::min(ours.size(), golden.size()); ++i) {
    const float d = std::abs(ours[i] - golden[i]);
    if (!(d <= difference)) difference = d;  // NaN counts as larger
    magnitude = std::max(magnitude, std::abs(golden[i]));
  }
  return difference / std::max(kTolerance, 4e-6f * magnitude);
}

/// Runs `ids` and keeps every tensor the forward pass shows, under the goldens' names.
std::map<std::string, std::vector<float>> record(MiniMaxM2& model,
                                                 const std::vector<int32_t>& ids) {
  std::map<std::string, std::vector<float>> seen;
  const Observer observer = [&seen](std::string_view name, int64_t layer, Activations tensor) {
    const std::string key = layer < 0 ? std::string(name) : fmt::format("layer.{}.{}", layer, name);
    seen[key].assign(tensor.data, tensor.data + tensor.rows * tensor.cols);
  };
  auto runner =
      SequenceRunner::create(model, {DType::f32, {}}, static_cast<int64_t>(ids.size())).value();
  const Activations logits =
      runner.append(ids, SequenceRunner::Logits::every_token, &observer).value();
  seen["logits"].assign(logits.data, logits.data + logits.rows * logits.cols);
  return seen;
}

/// Experts as sets: each token's chosen ids with their weights, sorted by id.
std::vector<std::map<int64_t, float>> choices(const std::vector<int64_t>& ids,
                                              const std::vector<float>& weights, size_t top_k) {
  std::vector<std::map<int64_t, float>> rows(ids.size() / top_k);
  for (size_t i = 0; i < ids.size(); ++i)
    rows[i / top_k][ids[i]] = weights[i];
  return rows;
}

void expect_same_choices(const std::map<std::string, std::vector<float>>& ours,
                         const LoadedTensors& golden, const std::string& layer, size_t top_k) {
  const std::vector<float>& ids = ours.at(layer + "router_index");
  const auto our_rows = choices(std::vector<int64_t>(ids.begin(), ids.end()),
                                ours.at(layer + "router_weights"), top_k);
  const auto golden_rows = choices(golden.integers(layer + "router_index"),
                                   golden.floats(layer + "router_weights"), top_k);
  ASSERT_EQ(our_rows.size(), golden_rows.size());
  for (size_t row = 0; row < our_rows.size(); ++row) {
    ASSERT_EQ(our_rows[row].size(), golden_rows[row].size());
    for (const auto& [expert, weight] : golden_rows[row]) {
      ASSERT_TRUE(our_rows[row].contains(expert)) << layer << " token " << row;
      EXPECT_NEAR(our_rows[row].at(expert), weight, kTolerance) << layer << " token " << row;
    }
  }
}

class Goldens : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<MiniMaxM2> load(const fs::path& folder) {
    auto kernels = make_kernels(GetParam());
    if (kernels == nullptr) return nullptr;
    auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(folder).value());
    return MiniMaxM2::load(std::move(checkpoint), std::move(kernels)).value();
  }
};

// A checkpoint of the demo model's first layer, with the embeddings of the prompt's tokens alone.
TEST_P(Goldens, FirstLayer) {
  const auto model = load(kSource / "tests/golden/first_layer");
  if (model == nullptr) GTEST_SKIP() << "no " << GetParam() << " on this machine";
  const LoadedTensors golden =
      load_tensors(kSource / "tests/golden/first_layer_hidden.safetensors");
  const std::vector<int64_t> ids = golden.integers("input_ids");
  const auto ours = record(*model, std::vector<int32_t>(ids.begin(), ids.end()));
  for (const char* name :
       {"embed", "layer.0.attn_out", "layer.0.router_logits", "layer.0.moe_out", "layer.0.out"}) {
    EXPECT_LT(excess(ours.at(name), golden.floats(name)), 1) << name;
  }
  expect_same_choices(ours, golden, "layer.0.",
                      static_cast<size_t>(model->config().num_experts_per_tok));
}

class FullGoldens : public Goldens {
 protected:
  void SetUp() override {
    // Of the first layer they see the same code.
    if (kSanitized) GTEST_SKIP() << "a whole model takes minutes under sanitizers";
    if (!fs::exists(kShared / "goldens")) GTEST_SKIP() << "needs ../shared/models";
    model_ = load(kShared / "demo-bf16");
    if (model_ == nullptr) GTEST_SKIP() << "no " << GetParam() << " on this machine";
  }
  /// Scalar kernels take minutes for the long texts.
  bool slow() const { return GetParam() == "reference" || GetParam() == "generic"; }
  std::unique_ptr<MiniMaxM2> model_;
};

TEST_P(FullGoldens, EveryLayer) {
  const LoadedTensors golden = load_tensors(kShared / "goldens/hidden_fp32.safetensors");
  const std::vector<int64_t> ids = golden.integers("input_ids");
  const auto ours = record(*model_, std::vector<int32_t>(ids.begin(), ids.end()));
  float largest = 0;
  int compared = 0;
  for (const auto& [name, tensor] : golden.tensors) {
    if (name == "input_ids" || name.ends_with("router_index") || name.ends_with("router_weights")) {
      continue;
    }
    ASSERT_TRUE(ours.contains(name)) << name;
    const float share = excess(ours.at(name), golden.floats(name));
    EXPECT_LT(share, 1) << name;
    largest = std::max(largest, share);
    ++compared;
  }
  EXPECT_EQ(compared, 3 + 4 * model_->config().num_hidden_layers);
  for (int64_t layer = 0; layer < model_->config().num_hidden_layers; ++layer) {
    expect_same_choices(ours, golden, fmt::format("layer.{}.", layer),
                        static_cast<size_t>(model_->config().num_experts_per_tok));
  }
  fmt::print("{} tensors, the worst at {:.2f} of what is allowed\n", compared, largest);
}

TEST_P(FullGoldens, TopLogitsOfEveryPrompt) {
  float largest = 0;
  const json::value prompts = load_json(kShared / "goldens/prompts.json");
  for (const json::value& prompt : prompts.as_array()) {
    const std::vector<int32_t> ids = to_ids(prompt.at("ids"));
    if (slow() && ids.size() > 200) continue;
    auto runner =
        SequenceRunner::create(*model_, {DType::f32, {}}, static_cast<int64_t>(ids.size())).value();
    const Activations logits = runner.append(ids, SequenceRunner::Logits::last_token).value();
    const std::vector<int32_t> top_ids = to_ids(prompt.at("top_ids"));
    const auto top_logits = json::value_to<std::vector<double>>(prompt.at("top_logits"));
    ASSERT_EQ(top_ids.size(), 50u);
    for (size_t i = 0; i < top_ids.size(); ++i) {
      const double difference = std::abs(logits.data[top_ids[i]] - top_logits[i]);
      EXPECT_LT(difference, kTolerance) << prompt.at("name") << " token " << top_ids[i];
      largest = std::max(largest, static_cast<float>(difference));
    }
  }
  fmt::print("largest difference: {:.1e}\n", largest);
}

TEST_P(FullGoldens, GreedyContinuations) {
  const json::value prompts = load_json(kShared / "goldens/prompts.json");
  for (const json::value& prompt : prompts.as_array()) {
    std::vector<int32_t> next = to_ids(prompt.at("ids"));
    if (slow() && next.size() > 200) continue;
    const std::vector<int32_t> expected = to_ids(prompt.at("greedy_ids"));
    auto runner = SequenceRunner::create(*model_, {DType::f32, {}},
                                         static_cast<int64_t>(next.size() + expected.size()))
                      .value();
    std::vector<int32_t> generated;
    while (generated.size() < expected.size()) {
      const Activations logits = runner.append(next, SequenceRunner::Logits::last_token).value();
      const float* best = std::max_element(logits.data, logits.data + logits.cols);
      next = {static_cast<int32_t>(best - logits.data)};
      generated.push_back(next[0]);
    }
    EXPECT_EQ(generated, expected) << prompt.at("name");
  }
}

TEST_P(FullGoldens, MeanNllOfTheHeldOutTexts) {
  if (slow()) GTEST_SKIP() << "14,000 tokens are too many for scalar kernels";
  const auto tokenizer = Tokenizer::from_file(kShared / "demo-bf16/tokenizer.json");
  ASSERT_TRUE(tokenizer);
  const json::value goldens = load_json(kShared / "goldens/nll.json");
  for (const char* name : {"heldout_book.txt", "heldout_chat.txt"}) {
    const auto ids = tokenizer->encode(read_text_file(kShared / "goldens" / name).value());
    ASSERT_TRUE(ids);
    CpuModel on_cpu(*model_, {DType::f32, {}});
    const auto result = evaluate_perplexity(on_cpu, *ids, goldens.at("window").as_int64());
    ASSERT_TRUE(result);
    const json::value& golden = goldens.at(name).at("fp32");
    EXPECT_EQ(result->num_tokens, golden.at("tokens").as_int64());
    EXPECT_NEAR(result->mean_nll, golden.at("mean_nll").as_double(), 5e-4) << name;
    fmt::print("{}: {:.6f}, transformers {:.6f}\n", name, result->mean_nll,
               golden.at("mean_nll").as_double());
  }
}

const auto kEveryKernel = testing::Values("reference", "generic", "avx2", "avx512");
const auto kNameIt = [](const testing::TestParamInfo<std::string>& info) { return info.param; };
INSTANTIATE_TEST_SUITE_P(Kernels, Goldens, kEveryKernel, kNameIt);
INSTANTIATE_TEST_SUITE_P(Kernels, FullGoldens, kEveryKernel, kNameIt);

}  // namespace
}  // namespace tetrad
