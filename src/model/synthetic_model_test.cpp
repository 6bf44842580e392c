#include "model/synthetic_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "model/sequence_runner.h"
#include "model/synthetic_model_for_tests.h"

namespace tetrad {
namespace {

using synthetic_model_for_tests::fast_model;
using synthetic_model_for_tests::kTinyShape;
using synthetic_model_for_tests::synthetic_ids;
using synthetic_model_for_tests::synthetic_model;
using testing::HasSubstr;

SequenceRunner runner_of(MiniMaxM2& model, DType kv_dtype, int64_t max_tokens) {
  const KvCacheFormat format = {
      kv_dtype, resolve_kv_scales(model.kv_scales(), kv_dtype, std::nullopt).value()};
  return SequenceRunner::create(model, format, max_tokens).value();
}

/// Over a float32 cache, because rounding makes a last bit a large difference.
std::vector<float> logits_of(MiniMaxM2& model) {
  SequenceRunner runner = runner_of(model, DType::f32, 40);
  const Activations logits =
      runner.append(synthetic_ids(40), SequenceRunner::Logits::every_token).value();
  return {logits.data, logits.data + logits.rows * logits.cols};
}

double rms(const float* values, int64_t count) {
  double squares = 0;
  for (int64_t i = 0; i < count; ++i)
    squares += static_cast<double>(values[i]) * values[i];
  return std::sqrt(squares / static_cast<double>(count));
}

TEST(SyntheticModel, ComputesTheSameOnEveryBackend) {
  for (const ActivationType activations : {ActivationType::f32, ActivationType::int8}) {
    // A last bit may round an activation to the next of 8 bits.
    const double tolerance = activations == ActivationType::f32 ? 1e-5 : 1e-2;
    const std::vector<float> expected =
        logits_of(*synthetic_model(make_reference_kernels(activations)));
    for (const char* isa : {"generic", "avx2", "avx512"}) {
      auto kernels = make_cpu_kernels(std::make_shared<ThreadPool>(2), isa, activations);
      if (!kernels) continue;  // not on this machine
      std::vector<float> difference = logits_of(*synthetic_model(std::move(*kernels)));
      ASSERT_EQ(difference.size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i)
        difference[i] -= expected[i];
      const auto count = static_cast<int64_t>(expected.size());
      EXPECT_LT(rms(difference.data(), count), tolerance * rms(expected.data(), count)) << isa;
    }
  }
}

TEST(SyntheticModel, IsMadeOfItsSeedAlone) {
  const std::vector<float> logits = logits_of(*fast_model(1, 1));
  EXPECT_EQ(logits, logits_of(*fast_model(1, 3)));
  EXPECT_NE(logits, logits_of(*fast_model(2, 1)));
}

TEST(SyntheticModel, KeepsActivationsNearOneAndUsesAllExperts) {
  const auto model = fast_model();
  std::map<int64_t, std::map<int, int>> tokens_of_expert;
  const Observer observer = [&](std::string_view name, int64_t layer, Activations tensor) {
    const int64_t size = tensor.rows * tensor.cols;
    if (name == "embed" || name == "out" || name == "router_logits") {
      EXPECT_GT(rms(tensor.data, size), 0.5) << name << layer;
      EXPECT_LT(rms(tensor.data, size), 2) << name << layer;
    }
    if (name != "router_index") return;
    for (int64_t i = 0; i < size; ++i)
      ++tokens_of_expert[layer][static_cast<int>(tensor.data[i])];
  };
  SequenceRunner runner = runner_of(*model, DType::f8_e4m3, 160);
  const Activations logits =
      runner.append(synthetic_ids(160), SequenceRunner::Logits::every_token, &observer).value();
  EXPECT_NEAR(rms(logits.data, logits.rows * logits.cols), 1, 0.2);
  ASSERT_EQ(tokens_of_expert.size(), 3u);
  for (const auto& [layer, tokens] : tokens_of_expert) {
    EXPECT_EQ(tokens.size(), 24u) << layer;
    // 160 tokens choose 3 of 24 each: 20 an expert.
    for (const auto& [expert, count] : tokens)
      EXPECT_LT(count, 60) << layer << ", " << expert;
  }
}

TEST(SyntheticModel, GivesEveryMatrixMemoryOfItsOwn) {
  const auto model = fast_model();
  std::map<const std::byte*, int64_t> places;
  int64_t bytes = 0;
  const auto add = [&](const WeightMatrix& matrix) {
    const int64_t data = matrix.rows * matrix.row_bytes();
    bytes += matrix.total_bytes();
    EXPECT_TRUE(places.emplace(matrix.data, data).second);
    if (matrix.scales != nullptr) {
      EXPECT_EQ(matrix.format, WeightFormat::mxfp4_16);
      EXPECT_TRUE(places.emplace(matrix.scales, matrix.total_bytes() - data).second);
    }
  };
  add(model->weights().embed_tokens);
  add(model->weights().lm_head);
  for (const MiniMaxM2Layer& layer : model->weights().layers) {
    EXPECT_EQ(layer.router.format, WeightFormat::f32);
    for (const WeightMatrix* matrix :
         {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj, &layer.router})
      add(*matrix);
    for (const auto* experts : {&layer.w1, &layer.w3, &layer.w2})
      std::for_each(experts->begin(), experts->end(), add);
  }
  const std::byte* end = nullptr;
  for (const auto& [data, size] : places) {
    EXPECT_GE(data, end);
    end = data + size;
  }
  EXPECT_EQ(bytes, synthetic_weight_bytes(model->config()));
  // 5 bits a weight: embedding and head, attention, experts; and the routers' 32.
  const int64_t packed = 2 * 160 * 96 + 3 * (2 * 192 * 96 + 2 * 64 * 96 + 24 * 3 * 96 * 48);
  EXPECT_EQ(bytes, packed * 5 / 8 + 3 * 24 * 96 * 4);
}

TEST(SyntheticModel, IsMiniMaxM27ButForItsShape) {
  const ModelConfig config = synthetic_config({}).value();
  EXPECT_EQ(config.num_hidden_layers, 4);
  EXPECT_EQ(config.hidden_size, 3072);
  EXPECT_EQ(config.q_size(), 48 * 128);
  EXPECT_EQ(config.kv_size(), 8 * 128);
  EXPECT_EQ(config.rotary_dim, 64);
  EXPECT_EQ(config.rope_theta, 5e6);
}

TEST(SyntheticModel, ErrorsSayWhatIsWrong) {
  const auto error_of = [](const SyntheticShape& shape) {
    const auto config = synthetic_config(shape);
    return config ? std::string() : config.error().message;
  };
  EXPECT_THAT(error_of({.layers = 0}), HasSubstr("layers must be from 1"));
  EXPECT_THAT(error_of({.vocab = int64_t{1} << 40}), HasSubstr("vocab must be from 1"));
  EXPECT_THAT(error_of({.hidden = 100}), HasSubstr("hidden = 100 is not a multiple of 16"));
  EXPECT_THAT(error_of({.intermediate = 8}), HasSubstr("intermediate = 8"));
  EXPECT_THAT(error_of({.heads = 1 << 20, .head_dim = 1 << 10}), HasSubstr("heads times head_dim"));
  EXPECT_THAT(error_of({.kv_heads = 5}), HasSubstr("num_key_value_heads"));
  EXPECT_THAT(error_of({.experts = 4}), HasSubstr("num_experts_per_tok"));

  ThreadPool pool(1);
  const auto model =
      make_synthetic_model(synthetic_config(kTinyShape).value(), 1, pool, make_reference_kernels(),
                           std::numeric_limits<int64_t>::max() / 2);
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::resource_exhausted);
  EXPECT_THAT(model.error().message, HasSubstr("free"));
}

}  // namespace
}  // namespace tetrad
