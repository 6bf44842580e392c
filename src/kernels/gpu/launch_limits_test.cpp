// MiniMax-M2.7's launches ask for no more than a block has. They are recorded and never made: the
// sizes are all that counts.

#include <gtest/gtest.h>

#include "kernels/gpu/gpu_test_util.h"

namespace tetrad::gpu {
namespace {

constexpr uint32_t kHidden = 3072;
constexpr uint32_t kIntermediate = 1536;
constexpr uint32_t kQSize = 6144;
constexpr uint32_t kKvSize = 1024;
constexpr uint32_t kExperts = 256;
constexpr uint32_t kTopK = 8;

constexpr PackedMatrix of_size(uint32_t rows, uint32_t cols) {
  return {.rows = rows, .cols = cols};
}

class MiniMaxM2Launches : public testing::TestWithParam<testing_gpu::EmulationKind> {
 protected:
  void SetUp() override {
    // As many multiprocessors as an H200 has, or an R9700.
    const auto& kind = GetParam();
    device_ =
        kind.is_gfx12
            ? std::make_unique<SizedDevice>(open_emulated_device("gfx12", emulated_gfx12_kernels()),
                                            32)
            : std::make_unique<SizedDevice>(
                  open_emulated_device("nvidia", emulated_nvidia_kernels(kind.has_warpgroups)),
                  132);
    ASSERT_TRUE(device_->begin_graph());
  }
  void expect_fits(GpuKernels& kernels, uint32_t num_tokens) {
    const auto launched = kernels.status();
    EXPECT_TRUE(launched) << launched.error().message << ", " << num_tokens << " tokens";
  }
  /// All but the experts' and the router's.
  void launch_dense(GpuKernels& kernels, uint32_t num_tokens) {
    for (const PackedMatrix& weight : {of_size(kQSize + 2 * kKvSize, kHidden),
                                       of_size(kHidden, kQSize), of_size(200064, kHidden)}) {
      kernels.product({.weight = weight,
                       .num_tokens = num_tokens,
                       .out_stride = weight.rows,
                       .partial = &partial_});
      expect_fits(kernels, num_tokens);
    }
    kernels.summarize_logits({.vocab_size = 200064}, num_tokens);
    expect_fits(kernels, num_tokens);
    kernels.qk_norm_rope({.q_size = kQSize, .kv_size = kKvSize}, num_tokens);
    expect_fits(kernels, num_tokens);
    kernels.attend_decode(
        {.attention = {.num_kv_heads = 8, .group = 6, .max_groups = 4}, .rope = {}}, 128,
        num_tokens);
    expect_fits(kernels, num_tokens);
    kernels.attend_prefill({.num_kv_heads = 8, .group = 6, .num_items = num_tokens}, 128);
    expect_fits(kernels, num_tokens);
  }
  void launch_router(GpuKernels& kernels, const ExpertChoice& choice) {
    const RouteArgs args{.hidden_size = kHidden, .choice = choice};
    if (choice.num_tokens <= kFewTokens) {
      kernels.route(args);
    } else {
      kernels.route_norm({.route = args});
      kernels.route_many({.route = args});
    }
    expect_fits(kernels, choice.num_tokens);
  }
  void launch_few_experts(GpuKernels& kernels, uint32_t num_tokens) {
    const ExpertChoice choice{
        .num_experts = kExperts, .num_experts_per_tok = kTopK, .num_tokens = num_tokens};
    launch_router(kernels, choice);
    if (kernels.takes_experts_stream(stream(choice))) {
      kernels.experts_stream(stream(choice));
      expect_fits(kernels, num_tokens);
    }
    // Of one of four ranks w2 has no whole segments of columns.
    for (const uint32_t intermediate : {kIntermediate, kIntermediate / 4}) {
      kernels.experts_up({.w1 = of_size(intermediate, kHidden),
                          .w3 = of_size(intermediate, kHidden),
                          .choice = choice,
                          .hidden_stride = intermediate});
      expect_fits(kernels, num_tokens);
      kernels.experts_down({.w2 = of_size(kHidden, intermediate),
                            .num_experts_per_tok = kTopK,
                            .num_tokens = num_tokens});
      expect_fits(kernels, num_tokens);
    }
  }
  static ExpertsStreamArgs stream(const ExpertChoice& choice) {
    return {.w1 = of_size(kIntermediate, kHidden),
            .w3 = of_size(kIntermediate, kHidden),
            .w2 = of_size(kHidden, kIntermediate),
            .choice = choice,
            .hidden_stride = kIntermediate};
  }
  void launch_many_experts(GpuKernels& kernels, uint32_t num_tokens) {
    const uint32_t pairs = num_tokens * kTopK;
    const TokenTiles tiles = kernels.expert_tiles(TileFormat::codes, pairs, kExperts);
    launch_router(
        kernels, {.num_experts = kExperts, .num_experts_per_tok = kTopK, .num_tokens = num_tokens});
    kernels.group_by_expert({.num_pairs = pairs, .num_experts = kExperts, .tiles = tiles});
    expect_fits(kernels, num_tokens);
    kernels.experts_up_gemm(
        {.w1 = of_size(kIntermediate, kHidden), .num_experts_per_tok = kTopK, .tiles = tiles},
        pairs, kExperts);
    expect_fits(kernels, num_tokens);
    kernels.experts_down_gemm({.w2 = of_size(kHidden, kIntermediate), .tiles = tiles}, pairs,
                              kExperts);
    expect_fits(kernels, num_tokens);
  }

  std::unique_ptr<SizedDevice> device_;
  float partial_ = 0;  // no launch is made
};

TEST_P(MiniMaxM2Launches, FitABlock) {
  GpuKernels kernels = GpuKernels::create(*device_, GpuTuning{}).value();
  for (const uint32_t tokens : {1u, 2u, 3u, 8u, 16u, 48u, 128u, 2048u})
    launch_dense(kernels, tokens);
  for (const uint32_t tokens : {1u, 2u, 3u, 8u, 16u, 48u})
    launch_few_experts(kernels, tokens);
  for (const uint32_t tokens : {128u, 512u, 2048u})
    launch_many_experts(kernels, tokens);
}

TEST_P(MiniMaxM2Launches, FillTheCardWithAMiddleNumberOfTokens) {
  GpuKernels kernels = GpuKernels::create(*device_, GpuTuning{}).value();
  device_->launched.clear();
  launch_dense(kernels, 48);
  const auto count = [&](std::string_view name) {
    return std::ranges::count(device_->launched, name);
  };
  // An R9700 has fewer multiprocessors than q, k and v have blocks.
  const int by_segments = GetParam().is_gfx12 ? 0 : 2;
  EXPECT_EQ(count("add_segments"), by_segments);
  const bool are_staged = GetParam().has_warpgroups && !GetParam().is_gfx12;
  EXPECT_EQ(count("segment_staged_six_codes"), are_staged ? by_segments : 0);
  EXPECT_EQ(count("gemm_segments_codes"), are_staged ? 0 : by_segments);
  launch_many_experts(kernels, 48);
  EXPECT_EQ(count("route_many_small"), GetParam().is_gfx12 ? 0 : 1);
}

TEST_P(MiniMaxM2Launches, OfManyTokensAreFedWhereTheMachineHasWarpgroups) {
  GpuKernels kernels = GpuKernels::create(*device_, GpuTuning{}).value();
  device_->launched.clear();
  launch_dense(kernels, 2048);
  launch_many_experts(kernels, 2048);
  const bool are_fed = GetParam().has_warpgroups && !GetParam().is_gfx12;
  const auto expect_launches = [&](std::string_view name, int64_t narrow, int64_t wide) {
    const auto count = [&](std::string_view end) {
      return std::ranges::count(device_->launched, std::string(name) + std::string(end));
    };
    EXPECT_EQ(count("_fed"), are_fed ? narrow : 0) << name;
    EXPECT_EQ(count("_fed_wide"), are_fed ? wide : 0) << name;
    EXPECT_EQ(count(""), are_fed ? 0 : narrow + wide) << name;
  };
  // Of q, k and v, and of the head, tiles of 128 tokens take fewer rounds.
  expect_launches("gemm_codes", 1, 2);
  // 64 tokens an expert.
  expect_launches("experts_up_gemm_codes", 1, 0);
  expect_launches("experts_down_gemm_codes", 1, 0);
  device_->launched.clear();
  launch_many_experts(kernels, 4096);
  expect_launches("experts_up_gemm_codes", 0, 1);
  expect_launches("experts_down_gemm_codes", 0, 1);
}

TEST_P(MiniMaxM2Launches, WithAnyTuning) {
  for (const GpuTuningField& field : gpu_tuning_fields()) {
    for (const uint32_t value : {field.least, field.most}) {
      GpuTuning tuning;
      tuning.*field.member = value;
      GpuKernels kernels = GpuKernels::create(*device_, tuning).value();
      for (const uint32_t tokens : {1u, 3u, 16u, 2048u})
        launch_dense(kernels, tokens);
      for (const uint32_t tokens : {1u, 3u, 48u, 256u, 257u, 512u}) {
        const ExpertChoice choice{
            .num_experts = kExperts, .num_experts_per_tok = kTopK, .num_tokens = tokens};
        if (kernels.streams_experts(choice, kernels.takes_experts_stream(stream(choice))))
          launch_few_experts(kernels, tokens);
        else
          launch_many_experts(kernels, tokens);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fragments, MiniMaxM2Launches,
                         testing::ValuesIn(testing_gpu::kAllEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace tetrad::gpu
