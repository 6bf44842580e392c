// The router for many tokens on the emulation, against the one for few.

#include "kernels/gpu/route_many.h"

#include <gtest/gtest.h>

#include "kernels/gpu/gpu_test_util.h"

namespace tetrad::gpu {
namespace {

using testing_gpu::Emulation;
using testing_gpu::kEmulations;
using testing_gpu::random_floats;

struct RouteManyCase {
  uint32_t num_tokens = 1;
  uint32_t num_experts = 1;
  uint32_t hidden = 128;
  uint32_t top_k = 1;
};

/// All that a step's later launches read.
struct RoutedTokens {
  std::vector<float> logits;
  std::vector<int32_t> ids;
  std::vector<float> weights;
  std::vector<uint16_t> normed;
  std::vector<uint32_t> finished;
  bool operator==(const RoutedTokens&) const = default;
};

class RouteManyTest : public testing::TestWithParam<testing_gpu::EmulationKind> {
 protected:
  static RoutedTokens route(const RouteManyCase& c, bool is_many, ThreadOrder order) {
    Emulation gpu(GetParam(), order);
    const uint32_t pairs = c.num_tokens * c.top_k;
    const uint32_t stride = tiles_for(c.hidden, 256) * 256;
    std::vector<float> x = random_floats(c.num_tokens * c.hidden, 2.0f, 21);
    // Two tokens alike, and two experts: of equals the first is chosen.
    std::copy_n(x.begin(), c.hidden, x.end() - c.hidden);
    std::vector<float> router = random_floats(c.num_experts * c.hidden, 0.1f, 23);
    std::copy_n(router.begin(), c.hidden, router.end() - c.hidden);
    std::vector<float> bias = random_floats(c.num_experts, 0.2f, 24);
    bias.back() = bias.front() = 2;
    float* logits = gpu.zeros<float>(c.num_tokens * c.num_experts);
    const ExpertChoice choice{.logits = logits,
                              .bias = gpu.copy(bias),
                              .num_experts = c.num_experts,
                              .num_experts_per_tok = c.top_k,
                              .num_tokens = c.num_tokens,
                              .expert_ids = gpu.zeros<int32_t>(pairs),
                              .weights = gpu.zeros<float>(pairs)};
    const RouteArgs args{.residual = gpu.copy(x),
                         .norm_weight = gpu.copy(random_floats(c.hidden, 1.0f, 22)),
                         .eps = 1e-6f,
                         .router = gpu.copy(router),
                         .hidden_size = c.hidden,
                         .normed = gpu.zeros<uint16_t>(c.num_tokens * stride),
                         .normed_stride = stride,
                         .choice = choice,
                         .finished = gpu.zeros<uint32_t>(c.num_tokens)};
    if (is_many) {
      gpu.kernels().route_many(
          {.route = args, .rows = gpu.zeros<float>(uint64_t{c.num_tokens} * c.hidden)});
    } else {
      gpu.kernels().route(args);
    }
    gpu.check();
    // `route` leaves the choice for few tokens to who needs it.
    const uint32_t chosen = c.num_tokens <= kFewTokens ? 0 : pairs;
    return {gpu.read(choice.logits, c.num_tokens * c.num_experts),
            gpu.read(choice.expert_ids, chosen), gpu.read(choice.weights, chosen),
            gpu.read(args.normed, c.num_tokens * stride), gpu.read(args.finished, c.num_tokens)};
  }
};

TEST_P(RouteManyTest, HasTheBitsOfTheRouterForFewTokens) {
  for (const RouteManyCase c :
       {RouteManyCase{1, 5, 128, 2}, RouteManyCase{31, 31, 256, 3}, RouteManyCase{32, 32, 128, 1},
        RouteManyCase{33, 33, 384, 8}, RouteManyCase{70, 96, 640, 8},
        RouteManyCase{65, 256, 128, 8}, RouteManyCase{5, 40, 3072, 4}}) {
    const RoutedTokens expected = route(c, false, ThreadOrder::ascending);
    for (const uint32_t counter : expected.finished)
      ASSERT_EQ(counter, 0u);
    for (const ThreadOrder order :
         {ThreadOrder::ascending, ThreadOrder::descending, ThreadOrder::shuffled}) {
      const RoutedTokens routed = route(c, true, order);
      EXPECT_TRUE(routed == expected)
          << c.num_tokens << " tokens, " << c.num_experts << " experts, " << c.hidden << " columns";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fragments, RouteManyTest, testing::ValuesIn(kEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace tetrad::gpu
