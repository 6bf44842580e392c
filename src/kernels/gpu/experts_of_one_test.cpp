// One token's experts as one launch whose blocks meet: the bits of the launches for any number of
// tokens, whoever computes what and in whatever order.

#include "kernels/gpu/experts_of_one.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include "kernels/gpu/decode_experts.h"
#include "kernels/gpu/gpu_test_util.h"
#include "kernels/gpu/route.h"

namespace tetrad::gpu {
namespace nvidia {

/// What each warp of a block finds chosen.
struct ChooseForOneArgs {
  ExpertChoice choice;
  uint32_t* experts = nullptr;  // [kStreamWarps, kMaxPicks]
  float* weights = nullptr;     // likewise
  uint32_t* counts = nullptr;   // [kStreamWarps]
};
TETRAD_KERNEL(choose_for_one, ChooseForOneArgs, 384) {
  auto& memory = *reinterpret_cast<ChoiceOfOneMemory*>(shared_memory());
  OneTokenChoice chooser(args.choice);
  chooser.choose(args.choice, memory, [] {});
  const uint32_t count = memory.picks.count;
  if (lane() < count) args.experts[warp() * kMaxPicks + lane()] = memory.picks.expert[lane()];
  if (lane() == 0) args.counts[warp()] = count;
  if (warp() == 0) chooser.weigh(args.choice, memory);
  sync_block();
  if (lane() < count) args.weights[warp() * kMaxPicks + lane()] = memory.picks.weight[lane()];
}

}  // namespace nvidia
namespace {

using testing_gpu::bits_of;
using testing_gpu::Emulation;
using testing_gpu::kEmulations;
using testing_gpu::random_floats;
using testing_gpu::RandomCodes;

struct OneCase {
  std::string_view name;
  uint32_t hidden = 768;
  uint32_t intermediate = 768;
  uint32_t num_experts = 5;
  uint32_t top_k = 3;
  int64_t num_multiprocessors = 2;
  ThreadOrder order = ThreadOrder::ascending;
  uint32_t add = 1;
  uint32_t first_expert = 0;  // that this rank has
  uint32_t end_expert = ~0u;
  std::optional<uint32_t> infinite_row;  // of each w2: with an infinite scale
  bool tells = false;                    // whether blocks tell others what a pick gave

  /// Some pair of blocks has an odd number of w2's tiles, and there are two picks to part.
  bool has_halves() const {
    const uint32_t tiles = hidden / kTileRows;
    const auto pairs = static_cast<uint32_t>(num_multiprocessors / 2);
    const bool is_odd = tiles / pairs % 2 == 1 || (tiles % pairs != 0 && tiles / pairs % 2 == 0);
    return is_odd && top_k >= 2 && end_expert - first_expert >= 2;
  }
};

/// One layer's router and experts on an emulated GPU.
class OneLayer {
 public:
  explicit OneLayer(const OneCase& of)
      : case_(of),
        gpu_(kEmulations[0], of.order, of.num_multiprocessors),
        w1_(pack(of.intermediate, of.hidden, 100)),
        w3_(pack(of.intermediate, of.hidden, 200)),
        w2_(pack(of.hidden, of.intermediate, 300)) {
    const std::vector<float> x = random_floats(of.hidden, 2.0f, 11);
    before_ = gpu_.copy(x);
    choice_ = {.logits = gpu_.zeros<float>(of.num_experts),
               .bias = gpu_.copy(random_floats(of.num_experts, 0.2f, 14)),
               .num_experts = of.num_experts,
               .num_experts_per_tok = of.top_k,
               .num_tokens = 1,
               .expert_ids = gpu_.zeros<int32_t>(of.top_k),
               .weights = gpu_.zeros<float>(of.top_k),
               .first_expert = of.first_expert,
               .end_expert = of.end_expert};
    route_ = {.residual = before_,
              .norm_weight = gpu_.copy(random_floats(of.hidden, 1.0f, 12)),
              .eps = 1e-6f,
              .router = gpu_.copy(random_floats(of.num_experts * of.hidden, 0.3f, 13)),
              .hidden_size = of.hidden,
              .normed = gpu_.zeros<uint16_t>(of.hidden),
              .normed_stride = of.hidden,
              .choice = choice_};
    one_ = {.w1 = w1_,
            .w3 = w3_,
            .w2 = w2_,
            .up_stride = packed_bytes(TileFormat::codes, of.intermediate, of.hidden),
            .down_stride = packed_bytes(TileFormat::codes, of.hidden, of.intermediate),
            .x = route_.normed,
            .choice = choice_,
            .add = of.add};
    std::ranges::copy(kIq4NlCodebook, one_.codebook);
    one_.hidden = gpu_.zeros<uint32_t>(one_.num_hidden_words());
    route_.not_yet = one_.hidden;
    route_.num_not_yet = one_.num_hidden_words();
    one_.products =
        reinterpret_cast<float*>(gpu_.copy(std::vector<uint32_t>(one_.num_products(), kNotYet)));
  }

  std::vector<float> by_two_launches() {
    const uint32_t top_k = case_.top_k;
    const ExpertLists lists{
        .sorted_pairs = gpu_.zeros<uint32_t>(top_k),
        .active = reinterpret_cast<ActiveExpert*>(gpu_.zeros<uint32_t>(4 * case_.num_experts)),
        .num_active = gpu_.zeros<uint32_t>(1)};
    gpu_.kernels().route(route_);
    ExpertsUpArgs up{.w1 = w1_,
                     .w3 = w3_,
                     .expert_stride = one_.up_stride,
                     .x = route_.normed,
                     .x_stride = case_.hidden,
                     .choice = choice_,
                     .lists = lists,
                     .hidden = gpu_.zeros<uint16_t>(top_k * case_.intermediate),
                     .hidden_stride = case_.intermediate};
    std::ranges::copy(one_.codebook, up.codebook);
    gpu_.kernels().experts_up(up);
    ExpertsDownArgs down{.w2 = w2_,
                         .expert_stride = one_.down_stride,
                         .hidden = up.hidden,
                         .hidden_stride = case_.intermediate,
                         .num_experts_per_tok = top_k,
                         .num_tokens = 1,
                         .lists = lists,
                         .products = gpu_.zeros<float>(top_k * case_.hidden),
                         .weights = choice_.weights,
                         .expert_ids = choice_.expert_ids,
                         .num_experts = case_.num_experts,
                         .residual = gpu_.copy(gpu_.read(before_, case_.hidden)),
                         .add = case_.add,
                         .finished = gpu_.zeros<uint32_t>(case_.hidden)};
    std::ranges::copy(one_.codebook, down.codebook);
    gpu_.kernels().experts_down(down);
    gpu_.check();
    return gpu_.read(down.residual, case_.hidden);
  }

  std::vector<float> by_one_launch() {
    const ExpertsOfOneArgs args = routed();
    EXPECT_TRUE(gpu_.kernels().takes_experts_of_one(args));
    gpu_.kernels().experts_of_one(args);
    gpu_.check();
    EXPECT_EQ(gpu_.read(reinterpret_cast<const uint32_t*>(args.products), args.num_products()),
              std::vector<uint32_t>(args.num_products(), kNotYet));
    return gpu_.read(args.residual, case_.hidden);
  }
  /// After the router.
  ExpertsOfOneArgs routed() {
    gpu_.kernels().route(route_);
    ExpertsOfOneArgs args = one_;
    args.residual = gpu_.copy(gpu_.read(before_, case_.hidden));
    return args;
  }

  Emulation& gpu() { return gpu_; }

 private:
  PackedMatrix pack(uint32_t rows, uint32_t cols, uint32_t seed) {
    return testing_gpu::pack_experts(gpu_, case_.num_experts, [&](uint32_t e) {
      RandomCodes random(rows, cols, seed + e);
      if (case_.infinite_row && seed == 300)
        random.scales[*case_.infinite_row * (cols / 16)] = 0x7C00;
      return random;
    });
  }

  OneCase case_;
  Emulation gpu_;
  PackedMatrix w1_, w3_, w2_;
  ExpertChoice choice_;
  RouteArgs route_;
  ExpertsOfOneArgs one_;
  float* before_ = nullptr;
};

class ExpertsOfOneTest : public testing::TestWithParam<OneCase> {};

TEST_P(ExpertsOfOneTest, AreTheBitsOfTwoLaunches) {
  OneLayer layer(GetParam());
  const std::vector<uint32_t> expected = bits_of(layer.by_two_launches());
  const bool is_zero = GetParam().add == 0 && GetParam().end_expert == GetParam().first_expert;
  EXPECT_EQ(std::ranges::count(expected, 0u), is_zero ? std::ssize(expected) : 0);
  EXPECT_EQ(GetParam().has_halves(), GetParam().tells);
  EXPECT_EQ(std::ranges::count_if(
                expected, [](uint32_t bits) { return !std::isfinite(std::bit_cast<float>(bits)); }),
            GetParam().infinite_row ? 1 : 0);
  EXPECT_EQ(bits_of(layer.by_one_launch()), expected);
  // And again, with what the first left behind.
  EXPECT_EQ(bits_of(layer.by_one_launch()), expected);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, ExpertsOfOneTest,
    testing::Values(
        OneCase{.name = "two_blocks"},
        OneCase{.name = "threads_descending", .order = ThreadOrder::descending},
        OneCase{.name = "threads_shuffled", .order = ThreadOrder::shuffled},
        OneCase{.name = "a_block_without_a_partner", .num_multiprocessors = 5},
        OneCase{.name = "wide",
                .hidden = 1536,
                .top_k = 2,
                .num_multiprocessors = 4,
                .order = ThreadOrder::shuffled},
        OneCase{.name = "much_between", .intermediate = 1536, .top_k = 4, .num_multiprocessors = 4},
        OneCase{.name = "one_pick", .top_k = 1, .num_multiprocessors = 3},
        OneCase{.name = "eight_picks",
                .num_experts = 9,
                .top_k = 8,
                .num_multiprocessors = 4,
                .order = ThreadOrder::shuffled},
        OneCase{.name = "more_blocks_than_strips",
                .top_k = 1,
                .num_multiprocessors = 60,
                .order = ThreadOrder::shuffled},
        OneCase{.name = "an_infinite_scale", .infinite_row = 0},
        OneCase{.name = "three_tiles_for_two_blocks",
                .num_experts = 9,
                .top_k = 8,
                .num_multiprocessors = 32,
                .order = ThreadOrder::shuffled,
                .tells = true},
        OneCase{.name = "nine_or_ten_and_a_lone_block",
                .num_multiprocessors = 11,
                .order = ThreadOrder::shuffled,
                .tells = true},
        OneCase{.name = "three_tiles_of_two_segments",
                .intermediate = 1536,
                .top_k = 2,
                .num_multiprocessors = 32,
                .order = ThreadOrder::shuffled,
                .tells = true},
        OneCase{.name = "three_tiles_descending",
                .num_multiprocessors = 32,
                .order = ThreadOrder::descending,
                .tells = true},
        OneCase{.name = "one_tile_for_two_blocks",
                .top_k = 2,
                .num_multiprocessors = 96,
                .order = ThreadOrder::shuffled,
                .tells = true},
        OneCase{.name = "fewer_tiles_than_pairs",
                .top_k = 2,
                .num_multiprocessors = 103,
                .order = ThreadOrder::shuffled,
                .tells = true},
        OneCase{.name = "an_infinite_scale_of_what_is_told",
                .num_multiprocessors = 32,
                .order = ThreadOrder::shuffled,
                .infinite_row = 2 * 16 * kTileRows,  // the third tile of the first of 16 pairs
                .tells = true},
        OneCase{.name = "three_tiles_and_some_experts_elsewhere",
                .num_experts = 8,
                .top_k = 6,
                .num_multiprocessors = 32,
                .first_expert = 2,
                .end_expert = 6,
                .tells = true},
        OneCase{.name = "three_tiles_and_one_expert_here",
                .num_experts = 6,
                .top_k = 6,
                .num_multiprocessors = 32,
                .first_expert = 2,
                .end_expert = 3},
        OneCase{.name = "three_tiles_and_no_expert_here",
                .num_multiprocessors = 32,
                .add = 0,
                .first_expert = 5,
                .end_expert = 5},
        OneCase{.name = "of_a_rank", .add = 0},
        OneCase{.name = "some_experts_elsewhere",
                .num_experts = 8,
                .top_k = 6,
                .first_expert = 2,
                .end_expert = 6},
        OneCase{.name = "all_experts_elsewhere", .add = 0, .first_expert = 5, .end_expert = 5}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(ExpertsOfOne, BlocksThatDoNotRunTogetherAreAnError) {
  OneLayer layer(OneCase{.name = ""});
  const ExpertsOfOneArgs args = layer.routed();
  const ExpertsOfOneWork work(args.w1, args.w2, 2);
  const LaunchShape shape{
      .grid_x = 2,
      .threads = kStreamThreads,
      .shared_bytes = ExpertsOfOneLayout(work, args.choice.num_experts_per_tok).end};
  Device& device = layer.gpu().device();
  const Result<void> one_by_one =
      device.launch(device.kernel("experts_of_one").value(), shape, &args, sizeof args);
  ASSERT_FALSE(one_by_one);
  EXPECT_NE(one_by_one.error().message.find("for other blocks or a copy"), std::string::npos)
      << one_by_one.error().message;
}

struct ChoiceCase {
  uint32_t num_experts = 256;
  uint32_t top_k = 8;
  float step = 0;  // of logits that are rounded, so that many are alike
  uint32_t first_expert = 0;
  uint32_t end_expert = ~0u;
};

TEST(ExpertsOfOne, EveryWarpFindsTheBestOfAllTheFirstOfEquals) {
  static constexpr EmulatedKernel kKernels[] = {
      {"choose_for_one", [](const void* arguments) {
         nvidia::choose_for_one(*static_cast<const nvidia::ChooseForOneArgs*>(arguments));
       }}};
  for (const ChoiceCase& of :
       {ChoiceCase{}, ChoiceCase{.step = 0.5f}, ChoiceCase{.step = 8},
        ChoiceCase{.num_experts = 201}, ChoiceCase{.num_experts = 9, .top_k = 3},
        ChoiceCase{.num_experts = 8},
        ChoiceCase{.step = 0.25f, .first_expert = 60, .end_expert = 190},
        ChoiceCase{.first_expert = 256, .end_expert = 256}}) {
    const std::unique_ptr<Device> device =
        open_emulated_device("nvidia", kKernels, ThreadOrder::shuffled);
    const uint32_t count = of.num_experts;
    std::vector<float> logits = random_floats(count, 2.0f, count + of.top_k);
    if (of.step > 0) {
      for (float& logit : logits)
        logit = std::round(logit / of.step) * of.step;
    }
    std::vector<float> bias(count, 0.0f);
    std::vector<uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::stable_sort(order, std::ranges::greater{}, [&](uint32_t e) { return logits[e]; });
    double sum = 0;
    std::vector<std::pair<uint32_t, double>> expected;
    for (uint32_t i = 0; i < of.top_k; ++i) {
      const double score = 1 / (1 + std::exp(-static_cast<double>(logits[order[i]])));
      sum += score;
      if (order[i] >= of.first_expert && order[i] < of.end_expert)
        expected.emplace_back(order[i] - of.first_expert, score);
    }
    std::vector<uint32_t> experts(kStreamWarps * kMaxPicks);
    std::vector<float> weights(kStreamWarps * kMaxPicks);
    std::vector<uint32_t> counts(kStreamWarps);
    const nvidia::ChooseForOneArgs args{.choice = {.logits = logits.data(),
                                                   .bias = bias.data(),
                                                   .num_experts = count,
                                                   .num_experts_per_tok = of.top_k,
                                                   .num_tokens = 1,
                                                   .first_expert = of.first_expert,
                                                   .end_expert = of.end_expert},
                                        .experts = experts.data(),
                                        .weights = weights.data(),
                                        .counts = counts.data()};
    const Result<void> launched = device->launch(
        device->kernel("choose_for_one").value(),
        {.threads = kStreamThreads, .shared_bytes = sizeof(ChoiceOfOneMemory)}, &args, sizeof args);
    ASSERT_TRUE(launched) << launched.error().message;
    for (uint32_t warp = 0; warp < kStreamWarps; ++warp) {
      ASSERT_EQ(counts[warp], expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(experts[warp * kMaxPicks + i], expected[i].first) << count << ", pick " << i;
        ASSERT_NEAR(weights[warp * kMaxPicks + i], expected[i].second / sum, 1e-6);
      }
    }
  }
}

TEST(ExpertsOfOne, IsForWholeSegmentsOfCodesOfOneToken) {
  Emulation gpu(kEmulations[0], ThreadOrder::ascending, 4);
  const auto args = [](uint32_t hidden, uint32_t intermediate, TileFormat format, uint32_t tokens) {
    return ExpertsOfOneArgs{.w1 = {.rows = intermediate, .cols = hidden},
                            .w3 = {.rows = intermediate, .cols = hidden},
                            .w2 = {.rows = hidden, .cols = intermediate, .format = format},
                            .choice = {.num_experts_per_tok = 8, .num_tokens = tokens}};
  };
  EXPECT_TRUE(gpu.kernels().takes_experts_of_one(args(768, 768, TileFormat::codes, 1)));
  EXPECT_FALSE(gpu.kernels().takes_experts_of_one(args(768, 768, TileFormat::codes, 2)));
  EXPECT_FALSE(gpu.kernels().takes_experts_of_one(args(768, 768, TileFormat::halves, 1)));
  ExpertsOfOneArgs mixed = args(768, 768, TileFormat::codes, 1);
  mixed.w1.format = TileFormat::halves;
  EXPECT_FALSE(gpu.kernels().takes_experts_of_one(mixed));
  EXPECT_FALSE(gpu.kernels().takes_experts_of_one(args(512, 768, TileFormat::codes, 1)));
  EXPECT_FALSE(gpu.kernels().takes_experts_of_one(args(768, 512, TileFormat::codes, 1)));
  // Four blocks have no memory for the parts of so many rows, 132 have.
  EXPECT_FALSE(gpu.kernels().takes_experts_of_one(args(3072, 1536, TileFormat::codes, 1)));
  Emulation large(kEmulations[0], ThreadOrder::ascending, 132);
  EXPECT_TRUE(large.kernels().takes_experts_of_one(args(3072, 1536, TileFormat::codes, 1)));
  Emulation gfx12(kEmulations[1]);
  EXPECT_FALSE(gfx12.kernels().takes_experts_of_one(args(768, 768, TileFormat::codes, 1)));
}

}  // namespace
}  // namespace tetrad::gpu
