// The router for many tokens on the emulation, against the one for few and the choice in doubles.

#include "kernels/gpu/route_many.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

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
};

class RouteManyTest : public testing::TestWithParam<testing_gpu::EmulationKind> {
 protected:
  /// What a test's tokens meet.
  struct Router {
    explicit Router(const RouteManyCase& c)
        : x(random_floats(c.num_tokens * c.hidden, 2.0f, 21)),
          weights(random_floats(c.num_experts * c.hidden, 0.1f, 23)),
          bias(random_floats(c.num_experts, 0.2f, 24)) {
      // Two tokens alike, and two experts: of equals the first is chosen.
      std::copy_n(x.begin(), c.hidden, x.end() - c.hidden);
      std::copy_n(weights.begin(), c.hidden, weights.end() - c.hidden);
      bias.back() = bias.front() = 2;
    }
    std::vector<float> x;
    std::vector<float> weights;
    std::vector<float> bias;
  };

  /// By the router for many tokens, or by that for few, which leaves the choice to others.
  /// The last `in_second_part` tokens by a launch of their own, of the router for many.
  static RoutedTokens route(const RouteManyCase& c, bool is_many, ThreadOrder order,
                            int64_t num_multiprocessors, uint32_t in_second_part = 0) {
    Emulation gpu(GetParam(), order, num_multiprocessors);
    const Router router(c);
    const uint32_t pairs = c.num_tokens * c.top_k;
    const uint32_t stride = tiles_for(c.hidden, 256) * 256;
    const ExpertChoice choice{.logits = gpu.zeros<float>(c.num_tokens * c.num_experts),
                              .bias = gpu.copy(router.bias),
                              .num_experts = c.num_experts,
                              .num_experts_per_tok = c.top_k,
                              .num_tokens = c.num_tokens,
                              .expert_ids = gpu.zeros<int32_t>(pairs),
                              .weights = gpu.zeros<float>(pairs)};
    const RouteArgs args{.residual = gpu.copy(router.x),
                         .norm_weight = gpu.copy(random_floats(c.hidden, 1.0f, 22)),
                         .eps = 1e-6f,
                         .router = gpu.copy(router.weights),
                         .hidden_size = c.hidden,
                         .normed = gpu.zeros<uint16_t>(c.num_tokens * stride),
                         .normed_stride = stride,
                         .choice = choice};
    if (is_many) {
      auto* finished = gpu.zeros<uint32_t>(c.num_tokens);
      const RouteManyArgs many{.route = args,
                               .rows = gpu.zeros<float>(uint64_t{c.num_tokens} * c.hidden),
                               .finished = finished};
      gpu.kernels().route_norm(many);
      gpu.kernels().route_many(many.part(0, c.num_tokens - in_second_part));
      if (in_second_part > 0)
        gpu.kernels().route_many(many.part(c.num_tokens - in_second_part, in_second_part));
      for (const uint32_t counter : gpu.read(finished, c.num_tokens))
        EXPECT_EQ(counter, 0u);
    }
    for (uint32_t first = 0; !is_many && first < c.num_tokens; first += kFewTokens) {
      RouteArgs few = args;
      few.residual += first * c.hidden;
      few.normed += first * stride;
      few.choice.logits += first * c.num_experts;
      few.choice.num_tokens = std::min(kFewTokens, c.num_tokens - first);
      gpu.kernels().route(few);
    }
    gpu.check();
    const char* const name = num_multiprocessors > 2 ? "route_many_small" : "route_many";
    EXPECT_EQ(std::ranges::count(gpu.launched(), name), is_many ? in_second_part > 0 ? 2 : 1 : 0);
    return {gpu.read(choice.logits, c.num_tokens * c.num_experts),
            gpu.read(choice.expert_ids, pairs), gpu.read(choice.weights, pairs),
            gpu.read(args.normed, c.num_tokens * stride)};
  }

  /// The experts of these logits, the best first, and their weights.
  static void expect_choice(const RouteManyCase& c, const RoutedTokens& routed) {
    const Router router(c);
    for (uint32_t t = 0; t < c.num_tokens; ++t) {
      const auto score = [&](size_t e) {
        return 1 / (1 + std::exp(-static_cast<double>(routed.logits[t * c.num_experts + e])));
      };
      std::vector<size_t> order(c.num_experts);
      std::iota(order.begin(), order.end(), size_t{0});
      std::ranges::stable_sort(order, std::ranges::greater{},
                               [&](size_t e) { return score(e) + router.bias[e]; });
      double sum = 0;
      for (uint32_t i = 0; i < c.top_k; ++i)
        sum += score(order[i]);
      for (uint32_t i = 0; i < c.top_k; ++i) {
        ASSERT_EQ(routed.ids[t * c.top_k + i], static_cast<int32_t>(order[i])) << "token " << t;
        ASSERT_NEAR(routed.weights[t * c.top_k + i], score(order[i]) / sum, 1e-5);
      }
    }
  }
};

TEST_P(RouteManyTest, HasTheBitsOfTheRouterForFewTokens) {
  for (const RouteManyCase c :
       {RouteManyCase{1, 5, 128, 2}, RouteManyCase{9, 17, 1408, 2}, RouteManyCase{31, 31, 256, 3},
        RouteManyCase{32, 32, 128, 1}, RouteManyCase{33, 33, 384, 8}, RouteManyCase{70, 96, 640, 8},
        RouteManyCase{65, 256, 128, 8}, RouteManyCase{5, 40, 3072, 4}}) {
    const RoutedTokens expected = route(c, false, ThreadOrder::ascending, 2);
    std::vector<float> weights;
    // Those of few multiprocessors have large tiles, those of many small ones.
    for (const int64_t multiprocessors : {2, 1000}) {
      for (const ThreadOrder order :
           {ThreadOrder::ascending, ThreadOrder::descending, ThreadOrder::shuffled}) {
        const std::string of = fmt::format("{} tokens, {} experts, {} columns, {} multiprocessors",
                                           c.num_tokens, c.num_experts, c.hidden, multiprocessors);
        const RoutedTokens routed = route(c, true, order, multiprocessors);
        EXPECT_EQ(routed.logits, expected.logits) << of;
        EXPECT_EQ(routed.normed, expected.normed) << of;
        expect_choice(c, routed);
        if (weights.empty()) weights = routed.weights;
        EXPECT_EQ(routed.weights, weights) << of;
      }
      // As ranks do.
      const RoutedTokens in_parts =
          route(c, true, ThreadOrder::ascending, multiprocessors, c.num_tokens / 3);
      EXPECT_EQ(in_parts.logits, expected.logits) << c.num_tokens << " tokens in parts";
      expect_choice(c, in_parts);
      EXPECT_EQ(in_parts.weights, weights) << c.num_tokens << " tokens in parts";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fragments, RouteManyTest, testing::ValuesIn(kEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace tetrad::gpu
