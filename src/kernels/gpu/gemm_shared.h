#pragma once

// What a block of gemm_block.h keeps in shared memory: the table of levels, stages of activations,
// totals, and which tokens it has.

#include "gpu/warpgroup.h"
#include "kernels/gpu/packed_matrix.h"

namespace tetrad::gpu {

inline constexpr uint32_t kGemmThreads = 256;
inline constexpr uint32_t kGemmWarps = kGemmThreads / kWarpSize;
/// Rows of W a block takes.
inline constexpr uint32_t kGemmRows = 256;
inline constexpr uint32_t kGemmRowTiles = kGemmRows / kTileRows;

/// Kernels come in sizes. `small` is for up to 32 tokens of a matrix, where reading the weights
/// takes the time: two of its blocks fit a multiprocessor. A block of `segment` takes one segment
/// of the columns, and so has no totals.
enum class GemmSize : uint32_t { small, large, segment };

/// Tokens a block of this size can take.
template <class F>
constexpr uint32_t gemm_tokens(TileFormat format, GemmSize size) {
  if (size == GemmSize::small) return 32;
  if (size == GemmSize::segment) return 64;
  // Halves on their way take twice the registers. On gfx12 a block has 64 KiB of shared memory.
  return F::kTokens == 8 && format == TileFormat::codes ? 128 : 64;
}

template <class F>
struct GemmLayout {
  static constexpr uint32_t kStages = F::kTokens == 8 ? 4 : 3;
  /// Sums of the segments so far: in shared memory, since registers hold a warp's sums but once.
  /// gfx12 has smaller tiles and less shared memory: in registers.
  static constexpr bool kSharedTotals = F::kTokens == 8;

  static constexpr uint32_t totals_bytes(GemmSize size, uint32_t tokens) {
    return kSharedTotals && size != GemmSize::segment ? kGemmRows * tokens * 4 : 0;
  }
};

/// Bytes of shared memory a block asks for.
template <class F>
constexpr uint32_t gemm_shared_bytes(TileFormat format, GemmSize size) {
  const uint32_t tokens = gemm_tokens<F>(format, size);
  return (format == TileFormat::codes ? kLevelTableBytes : 0) +
         GemmLayout<F>::totals_bytes(size, tokens) +
         GemmLayout<F>::kStages * tokens * kTileColumns * 2 + tokens * 4;
}

namespace TETRAD_MACHINE {

/// Where a block's shared memory is.
template <class Tile, GemmSize kSize>
struct GemmShared {
  static constexpr bool kCodes = Tile::kBytes == kCodeTileBytes;
  static constexpr uint32_t kTokens =
      gemm_tokens<Fragment>(kCodes ? TileFormat::codes : TileFormat::halves, kSize);
  using Layout = GemmLayout<Fragment>;

  static constexpr uint32_t kLoopBytes =
      Layout::totals_bytes(kSize, kTokens) + Layout::kStages * kTokens * kTileColumns * 2;

  uint32_t* table;    // [256][32]
  char* loop_memory;  // totals and stages of activations: as the loop needs them, less for fewer
                      // tokens
  uint32_t* tokens;   // [kTokens]: rows of the output, all of them valid

  TETRAD_DEVICE GemmShared() {
    char* memory = shared_memory();
    table = reinterpret_cast<uint32_t*>(memory);
    loop_memory = memory + (kCodes ? kLevelTableBytes : 0);
    tokens = reinterpret_cast<uint32_t*>(loop_memory + kLoopBytes);
  }
  /// Which of the block's tokens a thread writes to `tokens`: the first where there are no more.
  TETRAD_DEVICE static uint32_t token_of_thread(uint32_t num_tokens) {
    return thread_index() < num_tokens ? thread_index() : 0;
  }
};

/// B of groups 2 pair and 2 pair + 1 for the tokens from `stage` on, whose first is a multiple of
/// the fragment's.
TETRAD_DEVICE void load_staged_b(const char* stage, uint32_t pair, uint32_t (&b)[2][Fragment::kB]) {
  const uint32_t token = Fragment::row_to_load(lane());
  load_b<Fragment>([&](uint32_t piece) TETRAD_INLINE { return staged_piece(stage, token, piece); },
                   pair, b);
}

/// Brings stretches of 64 columns of a tile's tokens to the stages: 8 threads a token.
template <uint32_t kTokens>
struct StageCopier {
  static constexpr uint32_t kStageBytes = kTokens * kTileColumns * 2;
  static constexpr uint32_t kTokensAtOnce = kGemmThreads / 8;
  static constexpr uint32_t kCopies = (kTokens + kTokensAtOnce - 1) / kTokensAtOnce;
  const uint16_t* x;
  char* stages;              // [kStages][kTokens][64] halves, pieces of 16 bytes by staged_piece()
  uint32_t pieces[kCopies];  // of 16 bytes, from x on

  /// The row of x of tokens[t] is that divided by `divisor`.
  TETRAD_DEVICE StageCopier(const uint16_t* x_rows, uint32_t stride, char* to,
                            const uint32_t* tokens, uint32_t divisor)
      : x(x_rows), stages(to) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCopies; ++i) {
      const uint32_t token = thread_index() / 8 + i * kTokensAtOnce;
      const uint32_t row = token < kTokens ? tokens[token] / divisor : 0;
      pieces[i] = row * (stride / 8) + thread_index() % 8;
    }
  }
  TETRAD_DEVICE const char* stage(uint32_t number) const { return stages + number * kStageBytes; }
  TETRAD_DEVICE void copy(uint32_t column_tile, uint32_t stage) const {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCopies; ++i) {
      const uint32_t token = thread_index() / 8 + i * kTokensAtOnce;
      if (kTokens % kTokensAtOnce != 0 && token >= kTokens) continue;
      const uint64_t from = pieces[i] + column_tile * (kTileColumns / 8);
      copy_16_async(staged_piece(stages + stage * kStageBytes, token, thread_index() % 8),
                    x + from * 8);
    }
  }
};

/// what(sum, r, n, i) for each of a warp's sums.
template <uint32_t kRowTiles, uint32_t kTokenTiles, class Do>
TETRAD_DEVICE void for_each_sum(float (&sums)[kRowTiles][kTokenTiles][Fragment::kD],
                                const Do& what) {
  TETRAD_UNROLL
  for (uint32_t r = 0; r < kRowTiles; ++r) {
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kTokenTiles; ++n) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        what(sums[r][n][i], r, n, i);
    }
  }
}
template <uint32_t kRowTiles, uint32_t kTokenTiles>
TETRAD_DEVICE void fill_sums(float (&sums)[kRowTiles][kTokenTiles][Fragment::kD], float value) {
  for_each_sum(sums, [&](float& sum, uint32_t, uint32_t, uint32_t) TETRAD_INLINE { sum = value; });
}

/// what(four, i) for those of the tiles of tokens from kFirst on, in their order.
template <uint32_t kFirst, uint32_t kRowTiles, uint32_t kTokenTiles, class Sum, class Do>
TETRAD_DEVICE void for_each_four(Sum (&sums)[kRowTiles][kTokenTiles][4], const Do& what) {
  TETRAD_UNROLL
  for (uint32_t r = 0; r < kRowTiles; ++r) {
    TETRAD_UNROLL
    for (uint32_t n = kFirst; n < kTokenTiles; ++n)
      what(sums[r][n], r * (kTokenTiles - kFirst) + n - kFirst);
  }
}

/// sums = totals + sums for tiles of tokens from kFirst on, whose totals are in shared memory: the
/// i-th four of them at `at(i)`.
template <uint32_t kFirst = 0, uint32_t kRowTiles, uint32_t kTokenTiles, class At>
TETRAD_DEVICE void add_totals(float (&sums)[kRowTiles][kTokenTiles][Fragment::kD], const At& at) {
  for_each_four<kFirst>(sums, [&](float(&sum)[4], uint32_t i) TETRAD_INLINE {
    const Words4 words = *at(i);
    TETRAD_UNROLL
    for (uint32_t j = 0; j < 4; ++j)
      sum[j] = __builtin_bit_cast(float, words.word[j]) + sum[j];
  });
}
template <uint32_t kFirst = 0, uint32_t kRowTiles, uint32_t kTokenTiles, class At>
TETRAD_DEVICE void store_totals(const float (&sums)[kRowTiles][kTokenTiles][Fragment::kD],
                                const At& at) {
  for_each_four<kFirst>(sums, [&](const float(&sum)[4], uint32_t i)
                                  TETRAD_INLINE { *at(i) = __builtin_bit_cast(Words4, sum); });
}

/// The totals of the segments so far.
template <uint32_t kRowTiles, uint32_t kTokenTiles, bool kShared>
struct GemmTotals;

template <uint32_t kRowTiles, uint32_t kTokenTiles>
struct GemmTotals<kRowTiles, kTokenTiles, true> {
  static_assert(Fragment::kD == 4 || !GemmLayout<Fragment>::kSharedTotals);
  Words4* at;  // [sums of a thread / 4][kGemmThreads], from this thread's on
  TETRAD_DEVICE explicit GemmTotals(char* memory)
      : at(reinterpret_cast<Words4*>(memory) + thread_index()) {}
  /// sums = totals + sums, which may be stored.
  TETRAD_DEVICE void add_to(float (&sums)[kRowTiles][kTokenTiles][Fragment::kD]) const {
    add_totals(sums, [&](uint32_t i) TETRAD_INLINE { return at + i * kGemmThreads; });
  }
  TETRAD_DEVICE void store(const float (&sums)[kRowTiles][kTokenTiles][Fragment::kD]) {
    store_totals(sums, [&](uint32_t i) TETRAD_INLINE { return at + i * kGemmThreads; });
  }
};

template <uint32_t kRowTiles, uint32_t kTokenTiles>
struct GemmTotals<kRowTiles, kTokenTiles, false> {
  float totals[kRowTiles][kTokenTiles][Fragment::kD];
  TETRAD_DEVICE explicit GemmTotals(char*) {}
  TETRAD_DEVICE void add_to(float (&sums)[kRowTiles][kTokenTiles][Fragment::kD]) const {
    for_each_sum(sums, [&](float& sum, uint32_t r, uint32_t n, uint32_t i)
                           TETRAD_INLINE { sum = totals[r][n][i] + sum; });
  }
  TETRAD_DEVICE void store(const float (&sums)[kRowTiles][kTokenTiles][Fragment::kD]) {
    for_each_sum(totals, [&](float& total, uint32_t r, uint32_t n, uint32_t i)
                             TETRAD_INLINE { total = sums[r][n][i]; });
  }
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
