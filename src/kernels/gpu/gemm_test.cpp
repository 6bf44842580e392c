// The kernels for many tokens, on the emulation: bit for bit the sums that packed_matrix.h asks
// for, whatever the tile of tokens, and those of the kernels for a few tokens.

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernels/gpu/gemm_fed.h"
#include "kernels/gpu/gpu_test_util.h"
#include "kernels/gpu/pack_weights.h"

namespace tetrad::gpu {
namespace {

using testing_gpu::Emulation;
using testing_gpu::kEmulations;
using testing_gpu::random_floats;
using testing_gpu::RandomCodes;

/// W as the device has it and as numbers, each rounded to a half.
struct GemmWeights {
  TileFormat format = TileFormat::codes;
  uint32_t rows = 0;
  uint32_t cols = 0;
  float scale = 1;
  DeviceAddress tiles = 0;
  std::vector<float> numbers;

  PackedMatrix matrix() const {
    return {.tiles = reinterpret_cast<const char*>(tiles),
            .rows = rows,
            .cols = cols,
            .format = format,
            .scale = scale};
  }
};

void pack_gemm_codes(Emulation& gpu, GemmWeights& w, DeviceAddress to, uint32_t seed) {
  const RandomCodes random(w.rows, w.cols, seed);
  w.tiles = to;
  for (uint32_t i = 0; i < w.rows * w.cols; ++i)
    w.numbers.push_back(
        f16_to_float(float_to_f16(static_cast<float>(random.weight(i / w.cols, i % w.cols)))));
  gpu.launch(
      "pack_codes",
      {.grid_x = tiles_for(tiles_for(w.rows, kTileRows) * tiles_for(w.cols, kTileColumns), 8),
       .threads = 256},
      PackCodesArgs{.codes = gpu.copy(random.codes),
                    .scales = gpu.copy(random.scales),
                    .tiles = reinterpret_cast<char*>(to),
                    .rows = w.rows,
                    .cols = w.cols});
}

GemmWeights gemm_codes_of(Emulation& gpu, uint32_t rows, uint32_t cols, uint32_t seed) {
  GemmWeights w{.rows = rows, .cols = cols, .scale = 0.5f};
  pack_gemm_codes(gpu, w, gpu.allocate(packed_bytes(w.format, rows, cols)), seed);
  return w;
}

GemmWeights gemm_halves_of(Emulation& gpu, uint32_t rows, uint32_t cols, uint32_t seed) {
  GemmWeights w{.format = TileFormat::halves, .rows = rows, .cols = cols};
  w.tiles = gpu.allocate(packed_bytes(w.format, rows, cols));
  std::vector<uint16_t> halves;
  for (const float weight : random_floats(rows * cols, 0.1f, seed)) {
    halves.push_back(float_to_f16(weight));
    w.numbers.push_back(f16_to_float(halves.back()));
  }
  gpu.launch("pack_halves",
             {.grid_x = tiles_for(tiles_for(rows, kTileRows) * tiles_for(cols, kTileColumns), 8),
              .threads = 256},
             PackHalvesArgs{.weights = gpu.copy(halves),
                            .tiles = reinterpret_cast<char*>(w.tiles),
                            .rows = rows,
                            .cols = cols,
                            .is_bf16 = 0});
  return w;
}

/// W x in the order of sums that packed_matrix.h sets: within a segment each multiply_add of 16
/// columns rounds once.
std::vector<float> sums_in_order(const GemmWeights& w, const std::vector<float>& x,
                                 uint32_t num_tokens) {
  std::vector<float> out;
  for (uint32_t t = 0; t < num_tokens; ++t) {
    for (uint32_t n = 0; n < w.rows; ++n) {
      float total = 0;
      for (uint32_t begin = 0; begin < w.cols; begin += kSegmentColumns) {
        float segment = 0;
        for (uint32_t k = begin; k < std::min(w.cols, begin + kSegmentColumns); k += 16) {
          double sum = segment;
          for (uint32_t i = k; i < std::min(w.cols, k + 16); ++i)
            sum += static_cast<double>(w.numbers[n * w.cols + i]) *
                   f16_to_float(float_to_f16(x[t * w.cols + i]));
          segment = static_cast<float>(sum);
        }
        total = begin == 0 ? segment : total + segment;
      }
      out.push_back(total * w.scale);
    }
  }
  return out;
}

template <class Args>
void set_gemm_codebook(Args& args) {
  std::copy(kIq4NlCodebook.begin(), kIq4NlCodebook.end(), args.codebook);
}

uint32_t gemm_tokens_of(const Emulation& gpu, TileFormat format, GemmSize size) {
  return gpu.is_gfx12() ? gemm_tokens<Gfx12Fragment>(format, size)
                        : gemm_tokens<NvidiaFragment>(format, size);
}

LaunchShape gemm_shape(const Emulation& gpu, TileFormat format, GemmSize size, uint32_t grid_x,
                       uint32_t grid_y) {
  return {.grid_x = grid_x,
          .grid_y = grid_y,
          .threads = kGemmThreads,
          .shared_bytes = gpu.is_gfx12() ? gemm_shared_bytes<Gfx12Fragment>(format, size)
                                         : gemm_shared_bytes<NvidiaFragment>(format, size)};
}

/// Whether it is gemm_fed.h's, and with which shape.
enum class Fed { no, narrow, wide };

struct GemmRun {
  GemmSize size = GemmSize::large;
  uint32_t token_tile = 0;
  bool is_halves = false;  // where it is not the weights that say so
  Fed fed = Fed::no;
  uint32_t num_blocks = 2;  // that share its items, where they are fed
};

/// The end of a kernel's name.
std::string name_of(Fed fed) {
  return fed == Fed::no ? "" : fed == Fed::narrow ? "_fed" : "_fed_wide";
}
/// Of fewer blocks than there are items. `Narrow`: the shape that is not wide.
template <class Narrow>
LaunchShape fed_shape(Fed fed, uint32_t num_blocks) {
  return {.grid_x = num_blocks,
          .threads = FedBlock::kThreads,
          .shared_bytes = fed == Fed::narrow ? Narrow::kSharedBytes : WideFedShape::kSharedBytes};
}

/// Every kernel for a matrix, with tiles for which it has different loops.
std::vector<GemmRun> gemm_runs(const Emulation& gpu, TileFormat format) {
  std::vector<GemmRun> runs = {{GemmSize::small, 16}, {GemmSize::small, 32}};
  for (uint32_t tile = 16; tile <= gemm_tokens_of(gpu, format, GemmSize::large); tile *= 2)
    runs.push_back({GemmSize::large, tile});
  if (runs.back().token_tile == 128) {
    runs.push_back({GemmSize::large, 80});
    runs.push_back({GemmSize::large, 96});
    for (const uint32_t tile : {20u, 32u, 64u, 80u, 96u})
      runs.push_back({.token_tile = tile, .fed = Fed::narrow});
    for (const uint32_t tile : {20u, 64u, 66u, 80u, 96u, 112u, 128u})
      runs.push_back({.token_tile = tile, .fed = Fed::wide});
  }
  return runs;
}

/// out = before + W x, or W x where `before` is empty.
std::vector<float> run_gemm(Emulation& gpu, const GemmWeights& w, const GemmRun& run,
                            const std::vector<float>& x, uint32_t num_tokens,
                            const std::vector<float>& before = {}) {
  GemmArgs args{.weight = w.matrix(),
                .x = gpu.copy(gpu.activations(x, num_tokens, w.cols)),
                .x_stride = tiles_for(w.cols, kTileColumns) * kTileColumns,
                .num_tokens = num_tokens,
                .token_tile = run.token_tile,
                .out = reinterpret_cast<float*>(gpu.allocate(num_tokens * w.rows * 4)),
                .out_stride = w.rows,
                .add = before.empty() ? 0u : 1u};
  if (!before.empty()) args.out = gpu.copy(before);
  set_gemm_codebook(args);
  std::string name = w.format == TileFormat::codes ? "gemm_codes" : "gemm_halves";
  if (run.size == GemmSize::small) name += "_small";
  if (run.fed != Fed::no)
    gpu.launch(name + name_of(run.fed), fed_shape<DenseFedShape>(run.fed, run.num_blocks), args);
  else
    gpu.launch(name,
               gemm_shape(gpu, w.format, run.size, tiles_for(w.rows, kGemmRows),
                          tiles_for(num_tokens, run.token_tile)),
               args);
  return gpu.read(args.out, num_tokens * w.rows);
}

class GemmTest : public testing::TestWithParam<testing_gpu::EmulationKind> {};

struct GemmShapeCase {
  uint32_t rows;
  uint32_t cols;
  uint32_t num_tokens;
};

TEST_P(GemmTest, CodesGiveTheSumsInTheirOrder) {
  for (const GemmShapeCase c :
       {GemmShapeCase{40, 384, 1}, {300, 128, 3}, {16, 48, 66}, {16, 1600, 17}, {8, 1600, 65}}) {
    Emulation gpu(GetParam());
    const GemmWeights w = gemm_codes_of(gpu, c.rows, c.cols, 1);
    const std::vector<float> x = random_floats(c.num_tokens * c.cols, 1.0f, 2);
    const std::vector<float> expected = sums_in_order(w, x, c.num_tokens);
    for (const GemmRun& run : gemm_runs(gpu, w.format)) {
      EXPECT_EQ(run_gemm(gpu, w, run, x, c.num_tokens), expected)
          << c.rows << " x " << c.cols << ", " << c.num_tokens << " tokens in tiles of "
          << run.token_tile;
    }
  }
}

TEST_P(GemmTest, ManyTokensInAnyTileGiveTheSameBits) {
  Emulation gpu(GetParam());
  const uint32_t num_tokens = 130;
  const GemmWeights w = gemm_codes_of(gpu, 72, 832, 3);
  const std::vector<float> x = random_floats(num_tokens * w.cols, 1.0f, 4);
  const std::vector<float> before = random_floats(num_tokens * w.rows, 1.0f, 5);
  std::vector<float> expected = sums_in_order(w, x, num_tokens);
  for (size_t i = 0; i < expected.size(); ++i)
    expected[i] = before[i] + expected[i];
  for (const GemmRun& run : gemm_runs(gpu, w.format))
    EXPECT_EQ(run_gemm(gpu, w, run, x, num_tokens, before), expected) << run.token_tile;
  // Tiles need not be powers of two.
  EXPECT_EQ(run_gemm(gpu, w, {GemmSize::large, 50}, x, num_tokens, before), expected);
}

TEST_P(GemmTest, HalvesGiveTheSumsInTheirOrder) {
  for (const GemmShapeCase c : {GemmShapeCase{33, 208, 70}, {272, 896, 5}}) {
    Emulation gpu(GetParam());
    const GemmWeights w = gemm_halves_of(gpu, c.rows, c.cols, 6);
    const std::vector<float> x = random_floats(c.num_tokens * c.cols, 1.0f, 7);
    const std::vector<float> expected = sums_in_order(w, x, c.num_tokens);
    for (const GemmRun& run : gemm_runs(gpu, w.format))
      EXPECT_EQ(run_gemm(gpu, w, run, x, c.num_tokens), expected) << run.token_tile;
  }
}

TEST_P(GemmTest, TheOrderOfThreadsDoesNotChangeBits) {
  for (const GemmRun& run : {GemmRun{GemmSize::large, 128},
                             {GemmSize::large, 96},
                             {GemmSize::large, 64, true},
                             {GemmSize::small, 32},
                             {.token_tile = 80, .fed = Fed::narrow},
                             {.token_tile = 128, .fed = Fed::wide}}) {
    if (run.fed != Fed::no && GetParam().is_gfx12) continue;
    std::vector<float> expected;
    for (const ThreadOrder order :
         {ThreadOrder::ascending, ThreadOrder::descending, ThreadOrder::shuffled}) {
      Emulation gpu(GetParam(), order);
      // Beyond the stages, so that they are used again, and two segments.
      const GemmWeights w =
          run.is_halves ? gemm_halves_of(gpu, 48, 896, 8) : gemm_codes_of(gpu, 48, 896, 8);
      const uint32_t tile = std::min(run.token_tile, gemm_tokens_of(gpu, w.format, run.size));
      const uint32_t tokens = tile - 3;
      const std::vector<float> x = random_floats(tokens * w.cols, 1.0f, 9);
      const std::vector<float> out = run_gemm(gpu, w, {run.size, tile, false, run.fed}, x, tokens);
      if (expected.empty()) expected = sums_in_order(w, x, tokens);
      EXPECT_EQ(out, expected);
    }
  }
}

TEST_P(GemmTest, ABlockThatStaysTakesAnyNumberOfItems) {
  if (GetParam().is_gfx12) GTEST_SKIP() << "blocks of gfx12 do not stay";
  struct Case {
    uint32_t rows;
    uint32_t cols;  // one column tile: as many items are under way as there are stages
    uint32_t num_tokens;
    uint32_t token_tile;
  };
  for (const Case c : {Case{16, 48, 130, 10}, {300, 768, 70, 40}, {16, 1536, 70, 70}}) {
    for (const ThreadOrder order :
         {ThreadOrder::ascending, ThreadOrder::descending, ThreadOrder::shuffled}) {
      Emulation gpu(GetParam(), order);
      const GemmWeights w = gemm_codes_of(gpu, c.rows, c.cols, 13);
      const std::vector<float> x = random_floats(c.num_tokens * c.cols, 1.0f, 14);
      for (const Fed fed : {Fed::narrow, Fed::wide}) {
        const GemmRun run{.token_tile = c.token_tile, .fed = fed, .num_blocks = 1};
        EXPECT_EQ(run_gemm(gpu, w, run, x, c.num_tokens), sums_in_order(w, x, c.num_tokens))
            << c.rows << " x " << c.cols << name_of(fed);
      }
    }
  }
}

TEST_P(GemmTest, ATokenHasTheBitsOfTheKernelsForFewTokens) {
  Emulation gpu(GetParam());
  const uint32_t num_tokens = gpu.kernels().max_decode_tokens(1600);
  const GemmWeights w = gemm_codes_of(gpu, 48, 1600, 10);
  const std::vector<float> x = random_floats(num_tokens * w.cols, 1.0f, 11);
  DecodeProductArgs args{.weight = w.matrix(),
                         .halves = gpu.copy(gpu.activations(x, num_tokens, w.cols)),
                         .halves_stride = tiles_for(w.cols, kTileColumns) * kTileColumns,
                         .num_tokens = num_tokens,
                         .out = gpu.zeros<float>(num_tokens * w.rows),
                         .out_stride = w.rows};
  set_gemm_codebook(args);
  gpu.kernels().decode_product(args);
  gpu.check();
  EXPECT_EQ(gpu.read(args.out, num_tokens * w.rows),
            run_gemm(gpu, w, {GemmSize::large, 64}, x, num_tokens));
}

/// What group_by_expert is to write.
struct SortedPairs {
  SortedPairs(const std::vector<int32_t>& ids, uint32_t num_experts, uint32_t token_tile,
              bool are_even)
      : pairs(ids.size()), offsets(num_experts + 1) {
    std::iota(pairs.begin(), pairs.end(), 0u);
    std::stable_sort(pairs.begin(), pairs.end(),
                     [&](uint32_t a, uint32_t b) { return ids[a] < ids[b]; });
    std::erase_if(pairs,
                  [&](uint32_t pair) { return ids[pair] >= static_cast<int32_t>(num_experts); });
    for (const uint32_t pair : pairs)
      ++offsets[static_cast<size_t>(ids[pair]) + 1];
    struct Tile {
      uint32_t tokens;
      uint32_t word;
    };
    std::vector<Tile> by_expert;
    for (uint32_t e = 0; e < num_experts; ++e) {
      const uint32_t count = offsets[e + 1];
      if (count > 0) active.push_back(e);
      const uint32_t number = (count + token_tile - 1) / token_tile;
      uint32_t tokens = token_tile;
      if (are_even) {
        // The least multiple of 8 of which so many hold them.
        tokens = 8;
        while (tokens * number < count)
          tokens += 8;
      }
      for (uint32_t i = 0; i < number; ++i)
        by_expert.push_back({std::min({tokens, token_tile, count}), e << 16 | i});
      offsets[e + 1] += offsets[e];
    }
    std::stable_sort(by_expert.begin(), by_expert.end(),
                     [](const Tile& a, const Tile& b) { return a.tokens > b.tokens; });
    for (const Tile& tile : by_expert)
      tiles.push_back(tile.word);
  }
  std::vector<uint32_t> pairs;
  std::vector<uint32_t> offsets;
  std::vector<uint32_t> active;
  std::vector<uint32_t> tiles;
};

struct Grouped {
  ExpertLists lists;
  TokenTiles tiles;
  uint32_t max_tiles = 0;
};

Grouped group(Emulation& gpu, const std::vector<int32_t>& ids, uint32_t num_experts,
              uint32_t token_tile, bool are_even = false) {
  const auto num_pairs = static_cast<uint32_t>(ids.size());
  const uint32_t max_tiles =
      token_tile != 0 ? max_token_tiles(num_pairs, num_experts, token_tile) : 0;
  const auto words = [&](uint32_t count) {
    return count != 0 ? reinterpret_cast<uint32_t*>(gpu.allocate(count * 4)) : nullptr;
  };
  const Grouped grouped{.lists = {.expert_offsets = words(num_experts + 1),
                                  .sorted_pairs = words(num_pairs),
                                  .active = reinterpret_cast<ActiveExpert*>(gpu.allocate(
                                      std::min(num_pairs, num_experts) * sizeof(ActiveExpert))),
                                  .num_active = words(1)},
                        .tiles = {.token_tile = token_tile,
                                  .are_even = are_even ? 1u : 0u,
                                  .tiles = words(max_tiles),
                                  .num_tiles = words(token_tile != 0 ? 1 : 0)},
                        .max_tiles = max_tiles};
  gpu.launch("group_by_expert",
             {.threads = kGroupThreads, .shared_bytes = group_shared_bytes(num_experts)},
             GroupByExpertArgs{.expert_ids = gpu.copy(ids),
                               .num_pairs = num_pairs,
                               .num_experts = num_experts,
                               .lists = grouped.lists,
                               .tiles = grouped.tiles});
  return grouped;
}

/// Each token's experts, all different; low ones are picked more often.
std::vector<int32_t> random_expert_ids(uint32_t num_tokens, uint32_t top_k, uint32_t num_experts,
                                       uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids;
  for (uint32_t t = 0; t < num_tokens; ++t) {
    std::vector<int32_t> picked;
    while (picked.size() < top_k) {
      const uint32_t draw = static_cast<uint32_t>(random()) % num_experts;
      const auto id = static_cast<int32_t>(static_cast<uint32_t>(random()) % (draw + 1));
      if (std::find(picked.begin(), picked.end(), id) == picked.end()) picked.push_back(id);
    }
    ids.insert(ids.end(), picked.begin(), picked.end());
  }
  return ids;
}

struct GroupCase {
  uint32_t num_tokens;
  uint32_t top_k;
  uint32_t num_experts;
  uint32_t token_tile;
  bool are_even = false;
  uint32_t num_elsewhere = 0;  // experts beyond, whose pairs are left out
};

TEST_P(GemmTest, PairsAreSortedByExpert) {
  for (const GroupCase c : {GroupCase{1, 8, 256, 16},
                            {5, 3, 7, 2},
                            {5, 3, 7, 2, true},
                            {37, 4, 32, 1},
                            {129, 8, 511, 16, true},
                            {700, 8, 256, 32},
                            {600, 8, 100, 40, true, 60},
                            {4096, 8, 512, 128, true}}) {
    for (const ThreadOrder order :
         {ThreadOrder::ascending, ThreadOrder::descending, ThreadOrder::shuffled}) {
      if (c.num_tokens > 129 && order != ThreadOrder::shuffled) continue;
      Emulation gpu(GetParam(), order);
      const std::vector<int32_t> ids =
          random_expert_ids(c.num_tokens, c.top_k, c.num_experts + c.num_elsewhere, c.num_tokens);
      const SortedPairs expected(ids, c.num_experts, c.token_tile, c.are_even);
      const Grouped grouped = group(gpu, ids, c.num_experts, c.token_tile, c.are_even);
      ASSERT_EQ(gpu.read(grouped.lists.expert_offsets, c.num_experts + 1), expected.offsets);
      ASSERT_EQ(gpu.read(grouped.lists.sorted_pairs, expected.pairs.size()), expected.pairs);
      ASSERT_EQ(gpu.read(grouped.lists.num_active, 1).at(0), expected.active.size());
      const std::vector<ActiveExpert> active =
          gpu.read(grouped.lists.active, expected.active.size());
      for (size_t i = 0; i < active.size(); ++i) {
        const uint32_t e = expected.active[i];
        ASSERT_EQ(active[i].expert, e);
        ASSERT_EQ(active[i].first_pair, expected.offsets[e]);
        ASSERT_EQ(active[i].num_pairs, expected.offsets[e + 1] - expected.offsets[e]);
      }
      ASSERT_EQ(gpu.read(grouped.tiles.num_tiles, 1).at(0), expected.tiles.size());
      ASSERT_LE(expected.tiles.size(), grouped.max_tiles);
      ASSERT_EQ(gpu.read(grouped.tiles.tiles, expected.tiles.size()), expected.tiles);
      // Without a list of tiles.
      const Grouped plain = group(gpu, ids, c.num_experts, 0);
      ASSERT_EQ(gpu.read(plain.lists.sorted_pairs, expected.pairs.size()), expected.pairs);
    }
  }
}

/// Experts of two products each, one after the other in memory.
struct GemmExperts {
  std::vector<GemmWeights> of;
  DeviceAddress tiles = 0;
  uint64_t stride = 0;

  GemmExperts(Emulation& gpu, TileFormat format, uint32_t num_experts, uint32_t rows, uint32_t cols,
              uint32_t seed)
      : tiles(gpu.allocate(packed_bytes(format, rows, cols) * num_experts)),
        stride(packed_bytes(format, rows, cols)) {
    for (uint32_t e = 0; e < num_experts; ++e) {
      if (format == TileFormat::codes) {
        GemmWeights w{.rows = rows, .cols = cols, .scale = 0.5f};
        pack_gemm_codes(gpu, w, tiles + e * stride, seed + e);
        of.push_back(w);
      } else {
        GemmWeights w = gemm_halves_of(gpu, rows, cols, seed + e);
        EXPECT_TRUE(gpu.device().copy_to_device(tiles + e * stride,
                                                reinterpret_cast<const void*>(w.tiles),
                                                static_cast<int64_t>(stride)));
        of.push_back(w);
      }
    }
  }
  PackedMatrix first() const {
    PackedMatrix matrix = of.front().matrix();
    matrix.tiles = reinterpret_cast<const char*>(tiles);
    return matrix;
  }
};

struct ExpertGemmCase {
  TileFormat format;
  GemmSize size;
  uint32_t token_tile;
  uint32_t num_tokens;
  Fed fed = Fed::no;
  uint32_t hidden_size = 208;
};

/// The products of a layer's experts, each as if it were a product alone.
TEST_P(GemmTest, ExpertsHaveTheBitsOfTheirProductsAlone) {
  const uint32_t num_experts = 5;
  const uint32_t top_k = 2;
  const uint32_t intermediate = 144;
  for (const ExpertGemmCase c : {ExpertGemmCase{TileFormat::codes, GemmSize::large, 128, 140},
                                 {TileFormat::codes, GemmSize::large, 64, 70},
                                 {TileFormat::codes, GemmSize::large, 80, 150, Fed::narrow},
                                 {TileFormat::codes, GemmSize::large, 48, 60, Fed::narrow},
                                 {TileFormat::codes, GemmSize::large, 80, 120, Fed::narrow, 832},
                                 {TileFormat::codes, GemmSize::large, 128, 125, Fed::wide, 832},
                                 {TileFormat::codes, GemmSize::large, 128, 130, Fed::wide},
                                 {TileFormat::codes, GemmSize::small, 32, 41},
                                 {TileFormat::halves, GemmSize::large, 48, 60}}) {
    if (c.fed != Fed::no && GetParam().is_gfx12) continue;
    const uint32_t hidden_size = c.hidden_size;
    Emulation gpu(GetParam(), ThreadOrder::shuffled);
    const uint32_t token_tile = std::min(c.token_tile, gemm_tokens_of(gpu, c.format, c.size));
    const uint32_t num_pairs = c.num_tokens * top_k;
    const uint32_t x_stride = tiles_for(hidden_size, kTileColumns) * kTileColumns;
    const uint32_t hidden_stride = tiles_for(intermediate, kTileColumns) * kTileColumns;
    // Expert 1 has all tokens, expert 3 none, and the others some.
    std::vector<int32_t> ids;
    for (uint32_t t = 0; t < c.num_tokens; ++t) {
      const int32_t other = t % 10 < 7 ? 0 : t % 10 < 9 ? 2 : 4;
      ids.push_back(t % 3 == 0 ? other : 1);
      ids.push_back(t % 3 == 0 ? 1 : other);
    }
    const Grouped grouped = group(gpu, ids, num_experts, token_tile, c.fed != Fed::no);
    const GemmExperts gates(gpu, c.format, num_experts, intermediate, hidden_size, 100);
    const GemmExperts ups(gpu, c.format, num_experts, intermediate, hidden_size, 200);
    const GemmExperts downs(gpu, c.format, num_experts, hidden_size, intermediate, 300);
    const std::vector<float> x = random_floats(c.num_tokens * hidden_size, 1.0f, 12);
    const std::string name = std::string(c.format == TileFormat::codes ? "codes" : "halves") +
                             (c.size == GemmSize::small ? "_small" : "") + name_of(c.fed);
    const auto shape = [&](uint32_t grid_x) {
      return c.fed != Fed::no ? fed_shape<ExpertsFedShape>(c.fed, 2)
                              : gemm_shape(gpu, c.format, c.size, grid_x, grouped.max_tiles);
    };

    ExpertsUpGemmArgs up{
        .w1 = gates.first(),
        .w3 = ups.first(),
        .expert_stride = gates.stride,
        .x = gpu.copy(gpu.activations(x, c.num_tokens, hidden_size)),
        .x_stride = x_stride,
        .num_experts_per_tok = top_k,
        .lists = grouped.lists,
        .tiles = grouped.tiles,
        .hidden = reinterpret_cast<uint16_t*>(gpu.allocate(num_pairs * hidden_stride * 2)),
        .hidden_stride = hidden_stride};
    set_gemm_codebook(up);
    gpu.launch("experts_up_gemm_" + name, shape(tiles_for(intermediate, kGemmUpRows)), up);
    const std::vector<uint16_t> hidden = gpu.read(up.hidden, num_pairs * hidden_stride);
    ExpertsDownGemmArgs down{
        .w2 = downs.first(),
        .expert_stride = downs.stride,
        .hidden = up.hidden,
        .hidden_stride = hidden_stride,
        .lists = grouped.lists,
        .tiles = grouped.tiles,
        .products = reinterpret_cast<float*>(gpu.allocate(num_pairs * hidden_size * 4)),
        .products_stride = hidden_size};
    set_gemm_codebook(down);
    gpu.launch("experts_down_gemm_" + name, shape(tiles_for(hidden_size, kGemmRows)), down);
    const std::vector<float> products = gpu.read(down.products, num_pairs * hidden_size);

    for (uint32_t pair = 0; pair < num_pairs; ++pair) {
      const auto e = static_cast<size_t>(ids[pair]);
      const std::vector<float> row(x.begin() + pair / top_k * hidden_size,
                                   x.begin() + (pair / top_k + 1) * hidden_size);
      const std::vector<float> gate = sums_in_order(gates.of[e], row, 1);
      const std::vector<float> above = sums_in_order(ups.of[e], row, 1);
      std::vector<float> between;
      for (uint32_t n = 0; n < hidden_stride; ++n) {
        const uint16_t expected =
            n < intermediate ? nvidia::swiglu_to_half(gate[n], above[n]) : uint16_t{0};
        const uint32_t at = gpu.is_gfx12() ? activation_offset<Gfx12Fragment>(n)
                                           : activation_offset<NvidiaFragment>(n);
        ASSERT_EQ(hidden[pair * hidden_stride + at], expected)
            << name << ", row " << n << " of pair " << pair;
        if (n < intermediate) between.push_back(f16_to_float(expected));
      }
      const std::vector<float> product = sums_in_order(downs.of[e], between, 1);
      for (uint32_t n = 0; n < hidden_size; ++n)
        ASSERT_EQ(products[pair * hidden_size + n], product[n] * 64)
            << name << ", row " << n << " of pair " << pair;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fragments, GemmTest, testing::ValuesIn(kEmulations),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace tetrad::gpu
