// The experts of a few tokens as one launch whose blocks meet: the bits that each token has alone
// by other kernels, whoever computes what and in whatever order.

#include "kernels/gpu/experts_stream.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/gpu/decode_experts.h"
#include "kernels/gpu/gpu_test_util.h"

namespace tetrad::gpu {
namespace {

using testing_gpu::bits_of;
using testing_gpu::Emulation;
using testing_gpu::kEmulations;
using testing_gpu::random_floats;
using testing_gpu::RandomCodes;

struct StreamCase {
  std::string_view name;
  uint32_t num_tokens = kLeastStreamedTokens;
  uint32_t hidden = 768;
  uint32_t intermediate = 768;
  uint32_t num_experts = 7;
  uint32_t top_k = 3;
  int64_t num_multiprocessors = 2;
  ThreadOrder order = ThreadOrder::ascending;
  uint32_t add = 1;
  uint32_t first_expert = 0;  // that this rank has
  uint32_t end_expert = ~0u;
};

/// What the experts make of some tokens' residuals, as bits, and which were picked.
struct Visited {
  std::vector<uint32_t> residual;  // [T, hidden]
  std::vector<int32_t> expert_ids;
  std::vector<float> weights;
};

class StreamLayer {
 public:
  explicit StreamLayer(const StreamCase& of)
      : case_(of),
        gpu_(kEmulations[0], of.order, of.num_multiprocessors),
        w1_(pack(of.intermediate, of.hidden, 100)),
        w3_(pack(of.intermediate, of.hidden, 200)),
        w2_(pack(of.hidden, of.intermediate, 300)),
        bias_(gpu_.copy(random_floats(of.num_experts, 0.2f, 14))),
        logits_(random_floats(of.num_tokens * of.num_experts, 2.0f, 15)),
        residual_(random_floats(of.num_tokens * of.hidden, 2.0f, 11)) {
    for (const float value : random_floats(of.num_tokens * of.hidden, 2.0f, 12))
      x_.push_back(float_to_f16(value));
  }

  /// Tokens first … + count of the case. Lists of more than kFewTokens are made of `picked`.
  Visited visit(uint32_t first, uint32_t count, const Visited* picked = nullptr) {
    const uint32_t pairs = count * case_.top_k;
    const ExpertLists lists{
        .expert_offsets = gpu_.zeros<uint32_t>(case_.num_experts + 1),
        .sorted_pairs = gpu_.zeros<uint32_t>(pairs),
        .active = reinterpret_cast<ActiveExpert*>(gpu_.zeros<uint32_t>(4 * case_.num_experts)),
        .num_active = gpu_.zeros<uint32_t>(1)};
    ExpertChoice choice{.logits = part(logits_, case_.num_experts, first, count),
                        .bias = bias_,
                        .num_experts = case_.num_experts,
                        .num_experts_per_tok = case_.top_k,
                        .num_tokens = count,
                        .expert_ids = gpu_.zeros<int32_t>(pairs),
                        .weights = gpu_.zeros<float>(pairs),
                        .first_expert = case_.first_expert,
                        .end_expert = case_.end_expert};
    if (picked != nullptr) {
      choice.expert_ids = gpu_.copy(picked->expert_ids);
      choice.weights = gpu_.copy(picked->weights);
      gpu_.kernels().group_by_expert({.expert_ids = choice.expert_ids,
                                      .num_pairs = pairs,
                                      .num_experts = num_here(),
                                      .lists = lists});
    }
    Visited visited;
    visited.residual =
        count == 1 ? by_two_launches(first, choice, lists) : by_one_launch(first, choice, lists);
    visited.expert_ids = gpu_.read(choice.expert_ids, pairs);
    visited.weights = gpu_.read(choice.weights, pairs);
    return visited;
  }

  Emulation& gpu() { return gpu_; }

  Visited one_by_one() {
    Visited all;
    for (uint32_t token = 0; token < case_.num_tokens; ++token) {
      const Visited one = visit(token, 1);
      all.residual.insert(all.residual.end(), one.residual.begin(), one.residual.end());
      all.expert_ids.insert(all.expert_ids.end(), one.expert_ids.begin(), one.expert_ids.end());
      all.weights.insert(all.weights.end(), one.weights.begin(), one.weights.end());
    }
    return all;
  }

 private:
  template <class T>
  T* part(const std::vector<T>& all, uint32_t width, uint32_t first, uint32_t count) {
    return gpu_.copy(
        std::vector<T>(all.begin() + first * width, all.begin() + (first + count) * width));
  }
  uint64_t stride_of(const PackedMatrix& w) const {
    return packed_bytes(TileFormat::codes, w.rows, w.cols);
  }
  float* new_products(uint32_t pairs) {
    return reinterpret_cast<float*>(gpu_.allocate(uint64_t{pairs} * case_.hidden * 4));
  }

  /// One token, by decode_experts.h.
  std::vector<uint32_t> by_two_launches(uint32_t first, const ExpertChoice& choice,
                                        const ExpertLists& lists) {
    const uint32_t pairs = case_.top_k;
    ExpertsUpArgs up{.w1 = w1_,
                     .w3 = w3_,
                     .expert_stride = stride_of(w1_),
                     .x = part(x_, case_.hidden, first, 1),
                     .x_stride = case_.hidden,
                     .choice = choice,
                     .lists = lists,
                     .hidden = gpu_.zeros<uint16_t>(pairs * case_.intermediate),
                     .hidden_stride = case_.intermediate};
    std::ranges::copy(kIq4NlCodebook, up.codebook);
    gpu_.kernels().experts_up(up);
    ExpertsDownArgs down{.w2 = w2_,
                         .expert_stride = stride_of(w2_),
                         .hidden = up.hidden,
                         .hidden_stride = case_.intermediate,
                         .num_experts_per_tok = case_.top_k,
                         .num_tokens = 1,
                         .lists = lists,
                         .products = new_products(pairs),
                         .weights = choice.weights,
                         .expert_ids = choice.expert_ids,
                         .num_experts = num_here(),
                         .residual = part(residual_, case_.hidden, first, 1),
                         .add = case_.add,
                         .finished = gpu_.zeros<uint32_t>(case_.hidden)};
    std::ranges::copy(kIq4NlCodebook, down.codebook);
    gpu_.kernels().experts_down(down);
    gpu_.check();
    return bits_of(gpu_.read(down.residual, case_.hidden));
  }

  std::vector<uint32_t> by_one_launch(uint32_t first, const ExpertChoice& choice,
                                      const ExpertLists& lists) {
    const uint32_t num_tokens = choice.num_tokens;
    ExpertsStreamArgs stream{.w1 = w1_,
                             .w3 = w3_,
                             .w2 = w2_,
                             .up_stride = stride_of(w1_),
                             .down_stride = stride_of(w2_),
                             .x = part(x_, case_.hidden, first, num_tokens),
                             .x_stride = case_.hidden,
                             .choice = choice,
                             .lists = lists,
                             .hidden_stride = case_.intermediate,
                             .products = new_products(num_tokens * case_.top_k)};
    std::ranges::copy(kIq4NlCodebook, stream.codebook);
    stream.hidden = gpu_.copy(std::vector<uint32_t>(stream.num_hidden_words(), kNotYet));
    EXPECT_TRUE(gpu_.kernels().takes_experts_stream(stream));
    gpu_.kernels().experts_stream(stream);
    float* residual = part(residual_, case_.hidden, first, num_tokens);
    gpu_.kernels().combine_experts({.products = stream.products,
                                    .weights = choice.weights,
                                    .num_experts_per_tok = case_.top_k,
                                    .residual = residual,
                                    .hidden_size = case_.hidden,
                                    .add = case_.add},
                                   num_tokens);
    gpu_.check();
    return bits_of(gpu_.read(residual, num_tokens * case_.hidden));
  }

  uint32_t num_here() const {
    return std::min(case_.end_expert, case_.num_experts) - case_.first_expert;
  }
  PackedMatrix pack(uint32_t rows, uint32_t cols, uint32_t seed) {
    return testing_gpu::pack_experts(gpu_, case_.num_experts,
                                     [&](uint32_t e) { return RandomCodes(rows, cols, seed + e); });
  }

  StreamCase case_;
  Emulation gpu_;
  PackedMatrix w1_, w3_, w2_;
  float* bias_;
  std::vector<float> logits_;
  std::vector<float> residual_;
  std::vector<uint16_t> x_;
};

class ExpertsStreamTest : public testing::TestWithParam<StreamCase> {};

TEST_P(ExpertsStreamTest, TokensHaveTheBitsThatTheyHaveAlone) {
  const StreamCase& c = GetParam();
  StreamLayer layer(c);
  const Visited alone = layer.one_by_one();
  const Visited together =
      layer.visit(0, c.num_tokens, c.num_tokens > kFewTokens ? &alone : nullptr);
  const auto count = [&](std::string_view name) {
    return std::ranges::count(layer.gpu().launched(), name);
  };
  EXPECT_EQ(count("experts_stream"), 1);
  EXPECT_EQ(count("experts_up_one_codes"), c.num_tokens);
  EXPECT_EQ(together.expert_ids, alone.expert_ids);
  EXPECT_EQ(together.weights, alone.weights);
  EXPECT_EQ(together.residual, alone.residual);
  const bool is_zero = c.add == 0 && c.end_expert == c.first_expert;
  EXPECT_EQ(std::ranges::count(alone.residual, 0u), is_zero ? std::ssize(alone.residual) : 0);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, ExpertsStreamTest,
    testing::Values(
        StreamCase{.name = "two"}, StreamCase{.name = "few", .num_tokens = 5},
        StreamCase{.name = "few_threads_descending",
                   .num_tokens = kFewTokens,
                   .order = ThreadOrder::descending},
        StreamCase{.name = "many_blocks",
                   .num_tokens = kFewTokens,
                   .num_multiprocessors = 61,
                   .order = ThreadOrder::shuffled},
        StreamCase{.name = "eight_picks", .num_tokens = 6, .num_experts = 9, .top_k = 8},
        StreamCase{.name = "wide",
                   .num_tokens = 12,
                   .hidden = 1536,
                   .num_multiprocessors = 5,
                   .order = ThreadOrder::shuffled},
        // w2's first tiles begin while others' w1 and w3 are still multiplied.
        StreamCase{.name = "few_with_early_w2",
                   .num_tokens = kFewTokens,
                   .hidden = 1536,
                   .num_multiprocessors = 5,
                   .order = ThreadOrder::shuffled},
        StreamCase{.name = "few_with_two_rounds_of_early_w2",
                   .num_tokens = kFewTokens,
                   .hidden = 1536,
                   .num_multiprocessors = 4,
                   .order = ThreadOrder::descending},
        StreamCase{.name = "much_between", .num_tokens = 9, .intermediate = 1536},
        // Experts with more tokens than a pass takes, by blocks that begin within one.
        StreamCase{.name = "several_passes",
                   .num_tokens = 37,
                   .num_experts = 4,
                   .top_k = 2,
                   .num_multiprocessors = 7,
                   .order = ThreadOrder::shuffled},
        StreamCase{.name = "of_a_rank", .num_tokens = 3, .add = 0},
        StreamCase{.name = "some_experts_elsewhere",
                   .num_tokens = 7,
                   .num_experts = 8,
                   .top_k = 6,
                   .first_expert = 2,
                   .end_expert = 6},
        StreamCase{.name = "many_with_some_elsewhere",
                   .num_tokens = 17,
                   .num_experts = 8,
                   .top_k = 4,
                   .first_expert = 4},
        StreamCase{.name = "all_experts_elsewhere", .add = 0, .first_expert = 5, .end_expert = 5}),
    [](const auto& test) { return std::string(test.param.name); });

/// MiniMax-M2's sizes, or the intermediate size of one of some ranks.
ExpertsStreamArgs args_of(uint32_t num_tokens, uint32_t intermediate = 1536) {
  constexpr uint32_t kHidden = 3072;
  return {.w1 = {.rows = intermediate, .cols = kHidden, .format = TileFormat::codes},
          .w3 = {.rows = intermediate, .cols = kHidden, .format = TileFormat::codes},
          .w2 = {.rows = kHidden, .cols = intermediate, .format = TileFormat::codes},
          .choice = {.num_experts_per_tok = 8, .num_tokens = num_tokens},
          .hidden_stride = intermediate};
}

TEST(ExpertsStream, IsForSeveralTokensOfCodesInWholeSegments) {
  Emulation gpu(kEmulations[0], ThreadOrder::ascending, 132);
  const GpuKernels& kernels = gpu.kernels();
  EXPECT_FALSE(kernels.takes_experts_stream(args_of(1)));
  EXPECT_TRUE(kernels.takes_experts_stream(args_of(kLeastStreamedTokens)));
  EXPECT_TRUE(kernels.takes_experts_stream(args_of(256)));
  EXPECT_FALSE(kernels.takes_experts_stream(args_of(257)));
  EXPECT_TRUE(kernels.takes_experts_stream(args_of(2, 768)));
  EXPECT_FALSE(kernels.takes_experts_stream(args_of(2, 384)));
  for (PackedMatrix ExpertsStreamArgs::* matrix :
       {&ExpertsStreamArgs::w1, &ExpertsStreamArgs::w3, &ExpertsStreamArgs::w2}) {
    ExpertsStreamArgs args = args_of(2);
    (args.*matrix).format = TileFormat::halves;
    EXPECT_FALSE(kernels.takes_experts_stream(args));
  }
  Emulation gfx12(kEmulations[1], ThreadOrder::ascending, 64);
  EXPECT_FALSE(gfx12.kernels().takes_experts_stream(args_of(2)));
}

/// And w2's first tiles need what came of the first part alone.
TEST(ExpertsStream, EveryTileIsOneBlocksOnce) {
  for (const uint32_t blocks : {1u, 2u, 61u, 132u}) {
    for (const uint32_t passes : {0u, 1u, 2u, 16u, 57u, 200u, 512u}) {
      const ExpertsStreamArgs args = args_of(8);
      uint32_t next[2] = {};
      for (uint32_t index = 0; index < kStreamedParts; ++index) {
        uint32_t& tile = next[index / 2];
        for (uint32_t block = 0; block < blocks; ++block) {
          const StreamedPart part = streamed_part(args, index, passes, block, blocks);
          EXPECT_EQ(part.begin, tile);
          EXPECT_GE(part.end, part.begin);
          tile = part.end;
        }
        if (index == 2) {
          const uint32_t done = next[0] / (args.w1.rows / kTileRows);
          const uint32_t first = streamed_part(args, 0, passes, blocks - 1, blocks).end;
          EXPECT_LE(tile, first / (args.w1.rows / kTileRows) * (args.w2.rows / kTileRows));
          EXPECT_EQ(done, passes);
        }
      }
      EXPECT_EQ(next[0], passes * (args.w1.rows / kTileRows));
      EXPECT_EQ(next[1], passes * (args.w2.rows / kTileRows));
    }
  }
}

}  // namespace
}  // namespace tetrad::gpu
