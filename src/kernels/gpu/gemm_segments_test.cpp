// Products by segments of the columns, on the emulation: bit for bit those by blocks that take all
// columns, and the sums of squares that come with them.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <utility>

#include "kernels/gpu/gpu_test_util.h"
#include "kernels/gpu/pack_weights.h"

namespace tetrad::gpu {
namespace {

using testing_gpu::Emulation;
using testing_gpu::kAllEmulations;
using testing_gpu::random_floats;
using testing_gpu::RandomCodes;

struct SegmentsCase {
  uint32_t rows = 16;
  uint32_t cols = 16;
  uint32_t num_tokens = 1;
  bool adds = false;
  TileFormat format = TileFormat::codes;
};

struct SegmentsResult {
  std::vector<float> out;
  std::vector<float> square_sums;
  std::vector<std::string> launched;
};

class GemmSegmentsTest : public testing::TestWithParam<testing_gpu::EmulationKind> {
 protected:
  static PackedMatrix matrix_of(Emulation& gpu, const SegmentsCase& c) {
    const DeviceAddress at = gpu.allocate(packed_bytes(c.format, c.rows, c.cols));
    char* tiles = reinterpret_cast<char*>(at);
    if (c.format == TileFormat::codes) {
      testing_gpu::pack(gpu, RandomCodes(c.rows, c.cols, 31), at);
    } else {
      std::vector<uint16_t> halves;
      for (const float weight : random_floats(c.rows * c.cols, 0.1f, 31))
        halves.push_back(float_to_f16(weight));
      gpu.kernels().pack_halves({.weights = gpu.copy(halves),
                                 .tiles = tiles,
                                 .rows = c.rows,
                                 .cols = c.cols,
                                 .is_bf16 = 0});
    }
    return {.tiles = tiles, .rows = c.rows, .cols = c.cols, .format = c.format, .scale = 0.5f};
  }

  /// `partial`: with memory for the sums of segments. On so many multiprocessors that any number of
  /// blocks is too few.
  static SegmentsResult product(const SegmentsCase& c, bool has_partial, bool by_segments,
                                ThreadOrder order = ThreadOrder::ascending) {
    Emulation gpu(GetParam(), order, 1000);
    const std::vector<float> x = random_floats(c.num_tokens * c.cols, 1.0f, 32);
    GemmArgs args{.weight = matrix_of(gpu, c),
                  .x = gpu.copy(gpu.activations(x, c.num_tokens, c.cols)),
                  .x_stride = tiles_for(c.cols, kTileColumns) * kTileColumns,
                  .num_tokens = c.num_tokens,
                  .out = gpu.copy(random_floats(c.num_tokens * c.rows, 1.0f, 33)),
                  .out_stride = c.rows,
                  .add = c.adds ? 1u : 0u};
    std::copy(kIq4NlCodebook.begin(), kIq4NlCodebook.end(), args.codebook);
    // Without numbers: what is read of it must have been written.
    if (has_partial)
      args.partial = reinterpret_cast<float*>(
          gpu.allocate(4 * gemm_partial_floats(c.rows, c.cols, c.num_tokens)));
    const uint32_t num_squares = c.adds ? 0 : c.num_tokens * (c.rows / kSquareColumns);
    float* squares = num_squares != 0 ? gpu.zeros<float>(num_squares) : nullptr;
    gpu.kernels().gemm(args, squares);
    gpu.check();
    EXPECT_EQ(std::ranges::count(gpu.launched(), "add_segments"), by_segments ? 1 : 0);
    return {gpu.read(args.out, c.num_tokens * c.rows), gpu.read(squares, num_squares),
            gpu.launched()};
  }
};

TEST_P(GemmSegmentsTest, HaveTheBitsOfBlocksThatTakeAllColumns) {
  for (const SegmentsCase c :
       {SegmentsCase{272, 1600, 9, true},
        {528, 832, 33, false},
        {64, 6144, 48, true},
        {48, 3072, 48, false},
        {16, 3136, 17, false},
        {256, 784, 64, false},
        {144, 1600, 71, true},  // warps behind the last rows, and tokens of two blocks
        {48, 1216, 33, true},   // a last segment of seven column tiles
        {32, 1536, 128, true},
        {48, 1600, 40, true, TileFormat::halves},
        // Of few tokens warps take tiles of rows of their own.
        {272, 1600, 1, true},
        {144, 6144, 5, true},
        {128, 1536, 8, false},
        {16, 784, 7, false},
        {144, 1600, 16, true},
        {256, 3072, 11, false},
        {144, 1600, 20, true},  // gfx12 has memory for 20 of them, not for 21
        {144, 1600, 21, true},
        {16, 1536, 32, false},
        {16, 3136, 3, true},
        {272, 832, 6, true, TileFormat::halves},
        {144, 1536, 8, false, TileFormat::halves},
        {272, 832, 64, false, TileFormat::halves}}) {
    const SegmentsResult expected = product(c, false, false);
    const SegmentsResult result = product(c, true, true);
    const std::string of = fmt::format("{} x {}, {} tokens", c.rows, c.cols, c.num_tokens);
    EXPECT_EQ(result.out, expected.out) << of;
    EXPECT_EQ(result.square_sums, expected.square_sums) << of;
  }
}

TEST_P(GemmSegmentsTest, TheOrderOfThreadsDoesNotChangeBits) {
  const SegmentsCase c{32, 1600, 48, false};
  const SegmentsResult expected = product(c, true, true);
  for (const ThreadOrder order : {ThreadOrder::descending, ThreadOrder::shuffled}) {
    const SegmentsResult result = product(c, true, true, order);
    EXPECT_EQ(result.out, expected.out);
    EXPECT_EQ(result.square_sums, expected.square_sums);
  }
}

TEST_P(GemmSegmentsTest, OfManyTokensMultiplyByWarpgroups) {
  for (const auto& [num_tokens, kernel] : std::initializer_list<std::pair<uint32_t, const char*>>{
           {17, "segment_staged_four_codes"},
           {32, "segment_staged_four_codes"},
           {33, "segment_staged_six_codes"},
           {48, "segment_staged_six_codes"},
           {49, "segment_staged_four_codes"},
           {96, "segment_staged_six_codes"},
           {128, "segment_staged_four_codes"}}) {
    const auto launched = product({16, 784, num_tokens, false}, true, true).launched;
    const bool has_it = GetParam().has_warpgroups && !GetParam().is_gfx12;
    EXPECT_EQ(std::ranges::count(launched, kernel), has_it ? 1 : 0) << num_tokens << " tokens";
  }
}

TEST_P(GemmSegmentsTest, AreForWhatFitsThem) {
  for (const SegmentsCase c : {SegmentsCase{16, 768, 16, true},  // a segment alone
                               {40, 832, 16, true},              // rows that are no whole tiles
                               {16, 832, 129, true},             // many tokens
                               {16, 6208, 16, true}}) {          // nine segments
    EXPECT_EQ(product(c, true, false).out, product(c, false, false).out);
  }
}

INSTANTIATE_TEST_SUITE_P(Fragments, GemmSegmentsTest, testing::ValuesIn(kAllEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace tetrad::gpu
