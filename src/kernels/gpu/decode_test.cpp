// The kernels for a few tokens, on the emulation: against sums in double, bit for bit over the
// orders of threads, and each token as if it were alone.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <set>

#include "kernels/gpu/decode_experts.h"
#include "kernels/gpu/decode_product.h"
#include "kernels/gpu/gpu_test_util.h"
#include "kernels/gpu/pack_weights.h"
#include "kernels/gpu/route.h"

namespace tetrad::gpu {
namespace {

using testing_gpu::Emulation;
using testing_gpu::kEmulations;
using testing_gpu::random_floats;
using testing_gpu::RandomCodes;

/// W of codes, as the device has it and as numbers.
struct PackedCodes {
  PackedCodes(Emulation& gpu, uint32_t rows, uint32_t cols, uint32_t seed)
      : random(rows, cols, seed), tiles(gpu.allocate(packed_bytes(TileFormat::codes, rows, cols))) {
    pack(gpu, tiles);
  }
  void pack(Emulation& gpu, DeviceAddress to) const { testing_gpu::pack(gpu, random, to); }
  PackedMatrix matrix() const {
    return {
        .tiles = reinterpret_cast<const char*>(tiles), .rows = random.rows, .cols = random.cols};
  }
  RandomCodes random;
  DeviceAddress tiles;
};

class DecodeTest : public testing::TestWithParam<testing_gpu::EmulationKind> {};

void set_codebook(int8_t (&to)[16]) {
  std::copy(kIq4NlCodebook.begin(), kIq4NlCodebook.end(), to);
}

/// One token's norm is part of the product, those of several are a launch of their own.
std::vector<float> product(Emulation& gpu, const PackedCodes& w, const std::vector<float>& x,
                           const std::vector<float>& norm, uint32_t num_tokens) {
  const uint32_t cols = w.random.cols;
  const uint32_t stride = tiles_for(cols, kTileColumns) * kTileColumns;
  float* out = gpu.zeros<float>(num_tokens * w.random.rows);
  const float* residual = gpu.copy(x);
  const float* norm_weight = gpu.copy(norm);
  const uint32_t num_sums = num_tokens * tiles_for(w.random.rows, kTileRows);
  DecodeProductArgs args{.weight = w.matrix(),
                         .num_tokens = num_tokens,
                         .out = out,
                         .out_stride = w.random.rows,
                         .square_sums = gpu.zeros<float>(num_sums)};
  set_codebook(args.codebook);
  if (num_tokens == 1) {
    args.residual = residual;
    args.norm_weight = norm_weight;
    args.eps = 1e-6f;
  } else {
    uint16_t* halves = gpu.zeros<uint16_t>(num_tokens * stride);
    gpu.kernels().norm_rows({.x = residual,
                             .weight = norm_weight,
                             .out = halves,
                             .cols = cols,
                             .stride = stride,
                             .eps = 1e-6f},
                            num_tokens);
    args.halves = halves;
    args.halves_stride = stride;
  }
  gpu.kernels().decode_product(args);
  if (w.random.rows % kSquareColumns == 0) {
    // The same bits as when they are made of a product that is there.
    const SquareSumsArgs squares{
        .x = out, .cols = w.random.rows, .sums = gpu.zeros<float>(num_sums)};
    gpu.kernels().square_sums(squares, num_tokens);
    gpu.check();
    const std::vector<float> sums = gpu.read(args.square_sums, num_sums);
    EXPECT_EQ(sums, gpu.read(squares.sums, num_sums));
    EXPECT_GT(*std::ranges::min_element(sums), 0);
  }
  gpu.check();
  return gpu.read(out, num_tokens * w.random.rows);
}

TEST_P(DecodeTest, ProductOfANormIsWhatDoublesGive) {
  for (const auto& [rows, cols] : {std::pair{48u, 1600u}, {40u, 384u}, {16u, 3072u}}) {
    Emulation gpu(GetParam());
    const PackedCodes w(gpu, rows, cols, 7);
    const uint32_t num_tokens = 3;
    const std::vector<float> x = random_floats(num_tokens * cols, 3.0f, 1);
    const std::vector<float> norm = random_floats(cols, 1.0f, 2);
    const std::vector<float> out = product(gpu, w, x, norm, num_tokens);
    for (uint32_t t = 0; t < num_tokens; ++t) {
      const std::vector<double> h = testing_gpu::normed(x, norm, t, cols);
      for (uint32_t n = 0; n < rows; ++n) {
        double sum = 0;
        double size = 0;
        for (uint32_t k = 0; k < cols; ++k) {
          sum += w.random.weight(n, k) * h[k];
          size += std::abs(w.random.weight(n, k) * h[k]);
        }
        // Weights and activations are each rounded to 11 bits.
        ASSERT_NEAR(out[t * rows + n], sum, size * 0x1p-10 / std::sqrt(cols) * 4)
            << rows << " x " << cols << ", row " << n << " of token " << t;
      }
    }
  }
}

/// One token alone has kernels of its own where columns are whole segments.
class DecodeColumnsTest
    : public testing::TestWithParam<std::tuple<testing_gpu::EmulationKind, uint32_t>> {};

TEST_P(DecodeColumnsTest, TokensGridAndOrderOfThreadsDoNotChangeBits) {
  const auto& [kind, cols] = GetParam();
  const uint32_t rows = 96;
  const uint32_t num_tokens = Emulation(kind).kernels().max_decode_tokens(cols);
  const std::vector<float> x = random_floats(num_tokens * cols, 3.0f, 1);
  const std::vector<float> norm = random_floats(cols, 1.0f, 2);
  std::vector<float> expected;
  for (const ThreadOrder order :
       {ThreadOrder::ascending, ThreadOrder::descending, ThreadOrder::shuffled}) {
    Emulation gpu(kind, order);
    const PackedCodes w(gpu, rows, cols, 7);
    const std::vector<float> out = product(gpu, w, x, norm, num_tokens);
    if (expected.empty()) expected = out;
    EXPECT_EQ(out, expected);
    const std::vector<float> alone =
        product(gpu, w, std::vector<float>(x.begin() + 5 * cols, x.begin() + 6 * cols), norm, 1);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), expected.begin() + 5 * rows));
  }
}

struct HalvesCase {
  uint32_t rows, cols, num_tokens;
};

void expect_halves_are_multiplied_and_added(const testing_gpu::EmulationKind& kind,
                                            const HalvesCase& of) {
  Emulation gpu(kind);
  const auto& [rows, cols, num_tokens] = of;
  const uint32_t stride = tiles_for(cols, kTileColumns) * kTileColumns;
  const std::vector<float> w = random_floats(rows * cols, 0.1f, 3);
  std::vector<uint16_t> bf16(w.size());
  std::ranges::transform(w, bf16.begin(), float_to_bf16);
  const DeviceAddress tiles = gpu.allocate(packed_bytes(TileFormat::halves, rows, cols));
  gpu.kernels().pack_halves({.weights = gpu.copy(bf16),
                             .tiles = reinterpret_cast<char*>(tiles),
                             .rows = rows,
                             .cols = cols});
  const std::vector<float> x = random_floats(num_tokens * cols, 1.0f, 4);
  const std::vector<float> before = random_floats(num_tokens * rows, 1.0f, 5);
  float* out = gpu.copy(before);
  const DecodeProductArgs args{.weight = {.tiles = reinterpret_cast<const char*>(tiles),
                                          .rows = rows,
                                          .cols = cols,
                                          .format = TileFormat::halves},
                               .halves = gpu.copy(gpu.activations(x, num_tokens, cols)),
                               .halves_stride = stride,
                               .num_tokens = num_tokens,
                               .out = out,
                               .out_stride = rows,
                               .add = 1};
  gpu.kernels().decode_product(args);
  gpu.check();
  const std::vector<float> after = gpu.read(out, num_tokens * rows);
  for (uint32_t t = 0; t < num_tokens; ++t) {
    for (uint32_t n = 0; n < rows; ++n) {
      double sum = before[t * rows + n];
      for (uint32_t k = 0; k < cols; ++k)
        sum += static_cast<double>(bf16_to_float(bf16[n * cols + k])) *
               f16_to_float(float_to_f16(x[t * cols + k]));
      ASSERT_NEAR(after[t * rows + n], sum, 1e-5) << "row " << n << " of token " << t;
    }
  }
}

TEST_P(DecodeTest, HalvesAreMultipliedAndAdded) {
  expect_halves_are_multiplied_and_added(GetParam(), {.rows = 33, .cols = 208, .num_tokens = 2});
  expect_halves_are_multiplied_and_added(GetParam(), {.rows = 50, .cols = 768, .num_tokens = 1});
}

/// Router and experts of one layer against the definition in double.
struct ExpertCase {
  uint32_t hidden;
  uint32_t intermediate;
  uint32_t num_experts;
  uint32_t top_k;
  uint32_t num_tokens;
};

TEST_P(DecodeTest, RouterAndExpertsAreWhatDoublesGive) {
  for (const ExpertCase c :
       {ExpertCase{128, 80, 12, 3, 1}, ExpertCase{256, 64, 9, 2, 8}, ExpertCase{768, 80, 5, 2, 1},
        // Of which w1 and w3 come by themselves, and of which neither does.
        ExpertCase{768, 80, 5, 2, 8}, ExpertCase{256, 768, 5, 2, 8}}) {
    std::vector<float> expected_bits;
    for (const ThreadOrder order : {ThreadOrder::ascending, ThreadOrder::shuffled}) {
      Emulation gpu(GetParam(), order);
      const uint32_t pairs = c.num_tokens * c.top_k;
      const uint32_t stride = tiles_for(c.hidden, 64) * 64;
      const uint32_t hidden_stride = tiles_for(c.intermediate, 64) * 64;
      const std::vector<float> x = random_floats(c.num_tokens * c.hidden, 2.0f, 11);
      const std::vector<float> norm = random_floats(c.hidden, 1.0f, 12);
      const std::vector<float> router = random_floats(c.num_experts * c.hidden, 0.3f, 13);
      const std::vector<float> bias = random_floats(c.num_experts, 0.2f, 14);
      const ExpertLists lists{
          .expert_offsets = gpu.zeros<uint32_t>(c.num_experts + 1),
          .sorted_pairs = gpu.zeros<uint32_t>(pairs),
          .active = reinterpret_cast<ActiveExpert*>(gpu.zeros<uint32_t>(4 * c.num_experts)),
          .num_active = gpu.zeros<uint32_t>(1)};
      float* residual = gpu.copy(x);
      const ExpertChoice choice{.logits = gpu.zeros<float>(c.num_tokens * c.num_experts),
                                .bias = gpu.copy(bias),
                                .num_experts = c.num_experts,
                                .num_experts_per_tok = c.top_k,
                                .num_tokens = c.num_tokens,
                                .expert_ids = gpu.zeros<int32_t>(pairs),
                                .weights = gpu.zeros<float>(pairs)};
      const RouteArgs route{.residual = residual,
                            .norm_weight = gpu.copy(norm),
                            .eps = 1e-6f,
                            .router = gpu.copy(router),
                            .hidden_size = c.hidden,
                            .normed = gpu.zeros<uint16_t>(c.num_tokens * stride),
                            .normed_stride = stride,
                            .choice = choice};
      gpu.kernels().route(route);
      // All experts' matrices, one after the other.
      const uint64_t up_bytes = packed_bytes(TileFormat::codes, c.intermediate, c.hidden);
      const uint64_t down_bytes = packed_bytes(TileFormat::codes, c.hidden, c.intermediate);
      const DeviceAddress w1 = gpu.allocate(up_bytes * c.num_experts);
      const DeviceAddress w3 = gpu.allocate(up_bytes * c.num_experts);
      const DeviceAddress w2 = gpu.allocate(down_bytes * c.num_experts);
      std::vector<PackedCodes> gates, ups, downs;
      for (uint32_t e = 0; e < c.num_experts; ++e) {
        gates.emplace_back(gpu, c.intermediate, c.hidden, 100 + e).pack(gpu, w1 + e * up_bytes);
        ups.emplace_back(gpu, c.intermediate, c.hidden, 200 + e).pack(gpu, w3 + e * up_bytes);
        downs.emplace_back(gpu, c.hidden, c.intermediate, 300 + e).pack(gpu, w2 + e * down_bytes);
      }
      ExpertsUpArgs up{
          .w1 = {.tiles = reinterpret_cast<char*>(w1), .rows = c.intermediate, .cols = c.hidden},
          .w3 = {.tiles = reinterpret_cast<char*>(w3), .rows = c.intermediate, .cols = c.hidden},
          .expert_stride = up_bytes,
          .x = route.normed,
          .x_stride = stride,
          .choice = choice,
          .lists = lists,
          .hidden = gpu.zeros<uint16_t>(pairs * hidden_stride),
          .hidden_stride = hidden_stride};
      set_codebook(up.codebook);
      gpu.kernels().experts_up(up);
      gpu.check();
      const std::vector<int32_t> ids = gpu.read(choice.expert_ids, pairs);
      const std::vector<float> weights = gpu.read(choice.weights, pairs);
      for (uint32_t t = 0; t < c.num_tokens; ++t) {
        const std::vector<double> h = testing_gpu::normed(x, norm, t, c.hidden);
        std::vector<std::pair<double, int32_t>> order_of_experts;
        std::vector<double> scores;
        for (uint32_t e = 0; e < c.num_experts; ++e) {
          double logit = 0;
          for (uint32_t k = 0; k < c.hidden; ++k)
            logit += static_cast<double>(router[e * c.hidden + k]) * h[k];
          scores.push_back(1 / (1 + std::exp(-logit)));
          order_of_experts.emplace_back(-scores[e] - bias[e], static_cast<int32_t>(e));
        }
        std::sort(order_of_experts.begin(), order_of_experts.end());
        double sum = 0;
        for (uint32_t i = 0; i < c.top_k; ++i)
          sum += scores[static_cast<size_t>(order_of_experts[i].second)];
        for (uint32_t i = 0; i < c.top_k; ++i) {
          ASSERT_EQ(ids[t * c.top_k + i], order_of_experts[i].second) << "token " << t;
          ASSERT_NEAR(weights[t * c.top_k + i],
                      scores[static_cast<size_t>(order_of_experts[i].second)] / sum, 1e-5);
        }
      }
      ExpertsDownArgs down{
          .w2 = {.tiles = reinterpret_cast<char*>(w2), .rows = c.hidden, .cols = c.intermediate},
          .expert_stride = down_bytes,
          .hidden = up.hidden,
          .hidden_stride = hidden_stride,
          .num_experts_per_tok = c.top_k,
          .num_tokens = c.num_tokens,
          .lists = lists,
          .products = gpu.zeros<float>(pairs * c.hidden),
          .weights = choice.weights,
          .expert_ids = choice.expert_ids,
          .num_experts = c.num_experts,
          .residual = residual,
          .finished = gpu.zeros<uint32_t>(64)};
      set_codebook(down.codebook);
      gpu.kernels().experts_down(down);
      gpu.check();
      const std::vector<float> out = gpu.read(residual, c.num_tokens * c.hidden);
      for (const uint32_t counter : gpu.read(down.finished, 64))
        ASSERT_EQ(counter, 0u);
      if (expected_bits.empty()) expected_bits = out;
      EXPECT_EQ(out, expected_bits);
      // Where another rank brings the residual.
      down.add = 0;
      down.residual = gpu.copy(std::vector<float>(x.size(), std::nanf("")));
      gpu.kernels().experts_down(down);
      gpu.check();
      const std::vector<float> alone = gpu.read(down.residual, x.size());

      for (uint32_t t = 0; t < c.num_tokens; ++t) {
        const std::vector<double> h = testing_gpu::normed(x, norm, t, c.hidden);
        std::vector<double> sum(x.begin() + t * c.hidden, x.begin() + (t + 1) * c.hidden);
        double largest = 0;
        for (uint32_t i = 0; i < c.top_k; ++i) {
          const auto e = static_cast<size_t>(ids[t * c.top_k + i]);
          std::vector<double> between(c.intermediate);
          for (uint32_t n = 0; n < c.intermediate; ++n) {
            double gate = 0;
            double above = 0;
            for (uint32_t k = 0; k < c.hidden; ++k) {
              gate += gates[e].random.weight(n, k) * h[k];
              above += ups[e].random.weight(n, k) * h[k];
            }
            between[n] = gate / (1 + std::exp(-gate)) * above;
          }
          for (uint32_t n = 0; n < c.hidden; ++n) {
            double value = 0;
            for (uint32_t k = 0; k < c.intermediate; ++k)
              value += downs[e].random.weight(n, k) * between[k];
            sum[n] += static_cast<double>(weights[t * c.top_k + i]) * value;
            largest = std::max(largest, std::abs(sum[n]));
          }
        }
        for (uint32_t n = 0; n < c.hidden; ++n)
          ASSERT_NEAR(out[t * c.hidden + n], sum[n], largest * 2e-3) << "column " << n;
        for (uint32_t n = t * c.hidden; n < (t + 1) * c.hidden; ++n)
          ASSERT_NEAR(alone[n], sum[n - t * c.hidden] - x[n], largest * 2e-3) << "column " << n;
      }
    }
  }
}

// All picks of a step may be other ranks', whose experts bring what there is.
TEST_P(DecodeTest, ExpertsThatAreAllElsewhereBringZeros) {
  constexpr uint32_t kHidden = 320;
  constexpr uint32_t kIntermediate = 128;
  constexpr uint32_t kTopK = 2;
  constexpr auto kNowhere = static_cast<int32_t>(kElsewhere);
  for (const uint32_t tokens : {1u, 2u, 7u}) {
    Emulation gpu(GetParam());
    const uint32_t pairs = tokens * kTopK;
    const std::vector<float> no_numbers(tokens * kHidden, std::nanf(""));
    const float* weights = gpu.copy(std::vector<float>(pairs, -1.0f));
    const DeviceAddress w2 = gpu.allocate(packed_bytes(TileFormat::codes, kHidden, kIntermediate));
    ExpertsDownArgs down{
        .w2 = {.tiles = reinterpret_cast<char*>(w2), .rows = kHidden, .cols = kIntermediate},
        .hidden = gpu.zeros<uint16_t>(pairs * kIntermediate),
        .hidden_stride = kIntermediate,
        .num_experts_per_tok = kTopK,
        .num_tokens = tokens,
        .lists = {.sorted_pairs = gpu.zeros<uint32_t>(pairs),
                  .active = reinterpret_cast<ActiveExpert*>(gpu.zeros<uint32_t>(16)),
                  .num_active = gpu.zeros<uint32_t>(1)},
        .products = gpu.copy(std::vector<float>(pairs * kHidden, std::nanf(""))),
        .weights = weights,
        .expert_ids = gpu.copy(std::vector<int32_t>(pairs, kNowhere)),
        .num_experts = 4,
        .residual = gpu.copy(no_numbers),
        .add = 0,
        .finished = gpu.zeros<uint32_t>(64)};
    set_codebook(down.codebook);
    gpu.kernels().experts_down(down);
    gpu.check();
    EXPECT_EQ(gpu.read(down.residual, no_numbers.size()),
              std::vector<float>(no_numbers.size(), 0.0f));
    float* combined = gpu.copy(no_numbers);
    gpu.kernels().combine_experts({.products = down.products,
                                   .weights = weights,
                                   .num_experts_per_tok = kTopK,
                                   .residual = combined,
                                   .hidden_size = kHidden,
                                   .add = 0},
                                  tokens);
    gpu.check();
    EXPECT_EQ(gpu.read(combined, no_numbers.size()), std::vector<float>(no_numbers.size(), 0.0f));
  }
}

TEST_P(DecodeTest, LogitsThatAreNoNumbersStillNameExperts) {
  constexpr uint32_t kExperts = 12;
  constexpr uint32_t kTopK = 3;
  constexpr uint32_t kCols = 768;
  constexpr uint32_t kRows = 16;
  const float nan = std::bit_cast<float>(0x7FFFFFFFu);  // what NVIDIA's units make
  for (const uint32_t num_nans : {1u, 2u, kExperts}) {
    Emulation gpu(GetParam());
    std::vector<float> logits = random_floats(kExperts, 1.0f, 3);
    std::fill_n(logits.begin(), num_nans, nan);
    const uint64_t bytes = packed_bytes(TileFormat::codes, kRows, kCols);
    const auto zeros = [&](uint64_t count) {
      return reinterpret_cast<const char*>(gpu.zeros<uint32_t>(count / 4));
    };
    ExpertsUpArgs up{
        .w1 = {.tiles = zeros(bytes * kExperts), .rows = kRows, .cols = kCols},
        .w3 = {.tiles = zeros(bytes * kExperts), .rows = kRows, .cols = kCols},
        .expert_stride = bytes,
        .x = gpu.zeros<uint16_t>(kCols),
        .x_stride = kCols,
        .choice = {.logits = gpu.copy(logits),
                   .bias = gpu.zeros<float>(kExperts),
                   .num_experts = kExperts,
                   .num_experts_per_tok = kTopK,
                   .num_tokens = 1,
                   .expert_ids = gpu.zeros<int32_t>(kTopK),
                   .weights = gpu.zeros<float>(kTopK)},
        .lists = {.sorted_pairs = gpu.zeros<uint32_t>(kTopK),
                  .active = reinterpret_cast<ActiveExpert*>(gpu.zeros<uint32_t>(4 * kExperts)),
                  .num_active = gpu.zeros<uint32_t>(1)},
        .hidden = gpu.zeros<uint16_t>(kTopK * 64),
        .hidden_stride = 64};
    set_codebook(up.codebook);
    gpu.kernels().experts_up(up);
    gpu.check();
    const std::vector<int32_t> ids = gpu.read(up.choice.expert_ids, kTopK);
    const std::set<int32_t> distinct(ids.begin(), ids.end());
    EXPECT_EQ(distinct.size(), kTopK) << num_nans;
    EXPECT_GE(*distinct.begin(), 0);
    EXPECT_LT(*distinct.rbegin(), static_cast<int32_t>(kExperts));
  }
}

INSTANTIATE_TEST_SUITE_P(Fragments, DecodeTest, testing::ValuesIn(kEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });
INSTANTIATE_TEST_SUITE_P(Fragments, DecodeColumnsTest,
                         testing::Combine(testing::ValuesIn(kEmulations),
                                          testing::Values(1600u, 1536u)),
                         [](const auto& test) {
                           return fmt::format("{}_{}", std::get<0>(test.param).name,
                                              std::get<1>(test.param));
                         });

}  // namespace
}  // namespace tetrad::gpu
