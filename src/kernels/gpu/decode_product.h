#pragma once

// Products for a few tokens, up to one tile of a fragment: reading the weights is what takes time.
// A warp takes one segment of the columns of one tile of rows and always has the next kTilesAhead
// tiles of it on their way; the partial sums of the segments meet in shared memory. Blocks go over
// the tiles of rows in turn, so that the table of levels is made once a block.
//
// A launch of some microseconds runs most of its code once, and code comes from memory too: on an
// H200 128 bytes of it take some 30 cycles, which adds up to a third of the time of a layer. For
// one token alone, the commonest of all, kernels are compiled without what only several need.

#include "kernels/gpu/packed_matrix.h"
#include "kernels/gpu/rms_norm.h"
#include "kernels/gpu/square_sums.h"
#include "kernels/gpu/sum_of_parts.h"

namespace tetrad::gpu {

inline constexpr uint32_t kDecodeThreads = 256;
inline constexpr uint32_t kDecodeWarps = kDecodeThreads / 32;

/// x = norm(residual) when norm_weight is there, which is for one token, and x = halves otherwise.
/// out[t] = W x[t]: f32 rows, or added to them.
struct DecodeProductArgs {
  PackedMatrix weight;
  int8_t codebook[16] = {};
  const float* residual = nullptr;     // [cols]
  const float* norm_weight = nullptr;  // [cols]
  float eps = 0;
  const uint16_t* halves = nullptr;  // [T, halves_stride] in activation_offset order
  uint32_t halves_stride = 0;
  uint32_t num_tokens = 0;  // at most F::kTokens
  float* out = nullptr;     // [T, out_stride]
  uint32_t out_stride = 0;
  // Where wanted, [T, tiles of rows]: the sums of the squares of each 16 of W x (qk_norm_rope.h).
  float* square_sums = nullptr;
  uint32_t add = 0;        // 1: out += W x
  uint32_t job_tiles = 1;  // tiles of rows a warp takes before its block meets
};

/// Tiles of rows a warp takes before the block meets, at most.
inline constexpr uint32_t kMaxJobTiles = 4;

/// Bytes of shared memory a decode kernel's block asks for.
template <class F>
constexpr uint32_t decode_shared_bytes(uint32_t cols, uint32_t num_tokens, uint32_t job_tiles = 1) {
  return kLevelTableBytes + job_tiles * kDecodeWarps * kTileRows * F::kTokens * 4 +
         F::kTokens * 8 * 4 + activation_stride<F>(cols) * num_tokens * 2;
}

namespace TETRAD_MACHINE {

/// One warp's way through the same segment of several tiles of rows, one after the other, for
/// kTokenTiles tiles of tokens. kIsWhole: all segments have kSegmentTiles.
template <class Tile, bool kIsWhole = false, uint32_t kTokenTiles = 1>
struct SegmentReader {
  /// Of each tile of tokens that which the lane helps to load, at the segment's beginning.
  using Tokens = const uint16_t* [kTokenTiles];
  using Sums = float[kTokenTiles][Fragment::kD];
  /// 16 warps a multiprocessor times 6 tiles are 61 KB, where 4.5 TB/s times 1 us of latency ask
  /// for 34 KB of each of 132.
  static constexpr uint32_t kTilesAhead = Tile::kBytes == kCodeTileBytes ? 6 : 3;
  static_assert(kSegmentTiles % kTilesAhead == 0);
  static constexpr bool kUnrollsSegments = Fragment::kTokens == 8;
  Tile ahead[kTilesAhead];
  /// Asks for the first tiles of a segment of num_tiles, none if `tiles` is null.
  TETRAD_DEVICE void start(const char* tiles, uint32_t num_tiles) {
    if (tiles == nullptr) return;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kTilesAhead; ++i) {
      if (kIsWhole || i < num_tiles) ahead[i].load(tiles + i * Tile::kBytes);
    }
  }

  /// sums += W x of the segment that was started, if `tiles` is not null, and starts `next`.
  TETRAD_DEVICE void multiply(const char* tiles, const char* next, uint32_t num_tiles,
                              const Tokens& x, const uint32_t* table, Sums& sums) {
    if (tiles == nullptr) return start(next, num_tiles);
    // All segments but a matrix's last: without a question. For gfx12 the compiler runs out of
    // registers over it.
    if constexpr (kUnrollsSegments) {
      if (kIsWhole || num_tiles == kSegmentTiles)
        return multiply_whole(tiles, next, x, table, sums);
    }
    if constexpr (!kUnrollsSegments || !kIsWhole) multiply_any(tiles, num_tiles, x, table, sums);
    start(next, num_tiles);
  }

 private:
  /// As many tiles as are on their way are written out and no more.
  TETRAD_DEVICE void multiply_whole(const char* tiles, const char* next, const Tokens& x,
                                    const uint32_t* table, Sums& sums) {
    TETRAD_NO_UNROLL
    for (uint32_t first = 0; first < kSegmentTiles; first += kTilesAhead) {
      const bool is_last = first + kTilesAhead == kSegmentTiles;
      const char* ahead_of_x = is_last ? next : tiles + (first + kTilesAhead) * Tile::kBytes;
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kTilesAhead; ++i) {
        multiply_tile(ahead[i], x, (first + i) * kTileColumns, table, sums);
        if (ahead_of_x != nullptr) ahead[i].load(ahead_of_x + i * Tile::kBytes);
        keep_order();
      }
    }
  }
  TETRAD_DEVICE void multiply_any(const char* tiles, uint32_t num_tiles, const Tokens& x,
                                  const uint32_t* table, Sums& sums) {
    for (uint32_t first = 0; first < num_tiles; first += kTilesAhead) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kTilesAhead; ++i) {
        if (first + i >= num_tiles) break;
        multiply_tile(ahead[i], x, (first + i) * kTileColumns, table, sums);
        if (first + i + kTilesAhead < num_tiles)
          ahead[i].load(tiles + (first + i + kTilesAhead) * Tile::kBytes);
        keep_order();
      }
    }
  }
  TETRAD_DEVICE static void multiply_tile(const Tile& tile, const Tokens& x, uint32_t column,
                                          const uint32_t* table, Sums& sums) {
    uint32_t a[Fragment::kA];
    uint32_t b[kTokenTiles][2][Fragment::kB];
    const auto load = [&](uint32_t pair) TETRAD_INLINE {
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kTokenTiles; ++n)
        load_b<Fragment>([&](uint32_t piece) TETRAD_INLINE { return x[n] + column + piece * 8; },
                         pair, b[n]);
    };
    const auto multiply_group = [&](uint32_t group) TETRAD_INLINE {
      TETRAD_UNROLL
      for (uint32_t n = 0; n < kTokenTiles; ++n)
        Fragment::multiply_add(sums[n], a, b[n][group % 2]);
    };
    load(0);
    tile.template unpack<0>(table, a);
    multiply_group(0);
    tile.template unpack<1>(table, a);
    multiply_group(1);
    load(1);
    tile.template unpack<2>(table, a);
    multiply_group(2);
    tile.template unpack<3>(table, a);
    multiply_group(3);
  }
};

/// One of a job's sums: of which token and row of the job, and which warps have its parts.
struct RowOfJob {
  uint32_t token;
  uint32_t row;
  uint32_t job_tile;
  uint32_t first_warp;
};

/// How the warps of a block share the tiles of rows of a matrix: each tile has num_segments warps.
struct WarpShare {
  uint32_t num_segments;
  uint32_t tiles_per_block;
  uint32_t tile;     // of this warp, in the block
  uint32_t segment;  // of this warp
  uint32_t column_tiles;
  bool works;

  TETRAD_DEVICE WarpShare(uint32_t cols, uint32_t warps) {
    column_tiles = tiles_for(cols, kTileColumns);
    num_segments = tiles_for(cols, kSegmentColumns);
    tiles_per_block = warps / num_segments;
    tile = warp() % warps / num_segments;
    segment = warp() % warps % num_segments;
    works = tile < tiles_per_block;
  }
  TETRAD_DEVICE RowOfJob row_of_job(uint32_t i, bool is_one, uint32_t rows) const {
    const uint32_t token = is_one ? 0 : i / rows;
    const uint32_t row = i - token * rows;
    const uint32_t of_job = row / kTileRows;
    const uint32_t job_tile = of_job / tiles_per_block;
    return {token, row, job_tile, (of_job - job_tile * tiles_per_block) * num_segments};
  }
  TETRAD_DEVICE uint32_t num_tiles() const { return tiles_of_segment(column_tiles, segment); }
};

/// Shared memory of a decode kernel's block.
struct DecodeShared {
  uint32_t* table;  // [256][32]
  float* partial;   // [row tiles of a job][warps][kTileRows][kTokens]
  float* scratch;   // [kTokens][8]
  uint16_t* x;      // [num_tokens][stride]
  uint32_t stride;

  TETRAD_DEVICE explicit DecodeShared(uint32_t cols, uint32_t job_tiles = 1) {
    char* memory = shared_memory();
    table = reinterpret_cast<uint32_t*>(memory);
    partial = reinterpret_cast<float*>(memory + kLevelTableBytes);
    scratch = partial + job_tiles * kDecodeWarps * kTileRows * Fragment::kTokens;
    x = reinterpret_cast<uint16_t*>(scratch + Fragment::kTokens * 8);
    stride = activation_stride<Fragment>(cols);
  }

  /// The token that the lane helps to load, at column `first`. Instead of tokens that are not there
  /// the first: what is computed of them is not looked at.
  TETRAD_DEVICE const uint16_t* of_lane(uint32_t num_tokens, uint32_t first) const {
    const uint32_t token = Fragment::row_to_load(lane());
    return x + (token < num_tokens ? token : 0) * stride + first;
  }

  TETRAD_DEVICE void store_partial(uint32_t job_tile, const float (&sums)[Fragment::kD]) {
    float* mine = partial + (job_tile * kDecodeWarps + warp()) * kTileRows * Fragment::kTokens;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i)
      mine[Fragment::d_row(lane(), i) * Fragment::kTokens + Fragment::d_token(lane(), i)] = sums[i];
  }
  /// The sum over the segments, of which `more` warps further than `of` says have the parts.
  TETRAD_DEVICE float total(const RowOfJob& of, uint32_t count, uint32_t more = 0) const {
    const float* at =
        partial +
        ((of.job_tile * kDecodeWarps + of.first_warp + more) * kTileRows + of.row % kTileRows) *
            Fragment::kTokens +
        of.token;
    return sum_of_parts(at, count, kTileRows * Fragment::kTokens);
  }

  /// Columns of x from `cols` to the next multiple of 64, which meet weights that are zero: they
  /// must be numbers.
  TETRAD_DEVICE void clear_padding(uint32_t num_tokens, uint32_t cols) {
    const uint32_t padded = tiles_for(cols, kTileColumns) * kTileColumns;
    for (uint32_t token = 0; token < num_tokens; ++token) {
      for (uint32_t k = cols + thread_index(); k < padded; k += kDecodeThreads)
        x[token * stride + activation_offset<Fragment>(k)] = 0;
    }
  }
  /// One row of halves that are in activation_offset order already; wait_for_rows() before the
  /// block meets.
  TETRAD_DEVICE void copy_row(uint32_t token, const uint16_t* from, uint32_t cols,
                              uint32_t num_threads = kDecodeThreads) {
    const uint32_t pieces = tiles_for(cols, kTileColumns) * kTileColumns / 8;
    for (uint32_t i = thread_index(); i < pieces; i += num_threads)
      copy_16_async(x + token * stride + i * 8, from + i * 8);
  }
  TETRAD_DEVICE static void wait_for_rows() {
    end_copy_group();
    wait_for_copy_groups<0>();
  }
};

/// kIsOne: one token, columns that are whole segments, and at most a row a thread.
template <class Tile, bool kIsOne>
TETRAD_DEVICE void decode_product(const DecodeProductArgs& args) {
  const uint32_t num_tokens = kIsOne ? 1 : args.num_tokens;
  DecodeShared shared(args.weight.cols, args.job_tiles);
  const WarpShare share(args.weight.cols, kDecodeWarps);
  const uint32_t row_tiles = tiles_for(args.weight.rows, kTileRows);
  const uint32_t tiles_of_job = share.tiles_per_block * args.job_tiles;
  const uint32_t num_jobs = tiles_for(row_tiles, tiles_of_job);
  const uint32_t num_tiles = share.works ? share.num_tiles() : 0;

  SegmentReader<Tile, kIsOne> reader;
  // Of this warp in a job: every tiles_per_block-th tile of rows.
  const auto segment_of = [&](uint32_t job, uint32_t job_tile) TETRAD_INLINE -> const char* {
    const uint32_t row_tile = job * tiles_of_job + job_tile * share.tiles_per_block + share.tile;
    if (!share.works || row_tile >= row_tiles) return nullptr;
    return segment_at<Tile>(args.weight.tiles, share.column_tiles, row_tile, share.segment);
  };
  const char* tiles = segment_of(block_x(), 0);
  reader.start(tiles, num_tiles);
  if constexpr (Tile::kBytes == kCodeTileBytes)
    fill_level_table(shared.table, args.codebook, kDecodeThreads);
  NormColumns norm_weight;
  if (args.norm_weight != nullptr) norm_weight.load(args.norm_weight, args.weight.cols);
  const uint32_t rows = tiles_of_job * kTileRows;
  const RowOfJob mine = share.row_of_job(thread_index(), kIsOne, rows);
  // What is added to, of the thread's first row: neither of the two launches before writes it.
  const uint32_t first_row = block_x() * rows + mine.row;
  const bool has_first = thread_index() < rows * num_tokens && first_row < args.weight.rows;
  float first_before = 0;
  if (args.add != 0 && has_first)
    first_before = args.out[static_cast<uint64_t>(mine.token) * args.out_stride + first_row];
  wait_for_launches_before();
  let_next_launch_begin();

  if (args.norm_weight != nullptr) {
    norm_to<1>(args.residual, 1, norm_weight, args.weight.cols, args.eps, shared.scratch,
               StoreHalves{shared.x, shared.stride});
    shared.clear_padding(1, args.weight.cols);
  } else {
    for (uint32_t token = 0; token < num_tokens; ++token)
      shared.copy_row(token, args.halves + static_cast<uint64_t>(token) * args.halves_stride,
                      args.weight.cols);
    shared.wait_for_rows();
  }
  sync_block();

  const uint16_t* x = shared.of_lane(num_tokens, share.segment * kSegmentColumns);
  for (uint32_t job = block_x(); job < num_jobs; job += grid_x()) {
    for (uint32_t job_tile = 0; job_tile < args.job_tiles; ++job_tile) {
      const bool is_last = job_tile + 1 == args.job_tiles;
      const char* next = segment_of(is_last ? job + grid_x() : job, is_last ? 0 : job_tile + 1);
      float sums[1][Fragment::kD] = {};
      reader.multiply(tiles, next, num_tiles, {x}, shared.table, sums);
      shared.store_partial(job_tile, sums[0]);
      tiles = next;
    }
    sync_block();
    // By all threads of a warp.
    const auto finish = [&](uint32_t i, const RowOfJob& of) TETRAD_INLINE {
      const uint32_t row = job * rows + of.row;
      const bool is_there = i < rows * num_tokens && row < args.weight.rows;
      float value = 0;
      if (is_there) value = shared.total(of, share.num_segments) * args.weight.scale;
      if (args.square_sums != nullptr) {
        const float sum = square_sum_of_16(value);
        if (is_there && row % kTileRows == 0)
          args.square_sums[of.token * row_tiles + row / kTileRows] = sum;
      }
      if (!is_there) return;
      float* out = args.out + static_cast<uint64_t>(of.token) * args.out_stride + row;
      const bool is_first = job == block_x() && i == thread_index();
      *out = args.add == 0 ? value : (is_first ? first_before : *out) + value;
    };
    if constexpr (kIsOne) {
      finish(thread_index(), mine);
    } else {
      for (uint32_t first = 0; first < rows * num_tokens; first += kDecodeThreads) {
        const uint32_t i = first + thread_index();
        finish(i, share.row_of_job(i, false, rows));
      }
    }
    sync_block();
  }
}

TETRAD_KERNEL(decode_product_codes, DecodeProductArgs, 256) {
  decode_product<CodeTile<Fragment>, false>(args);
}
TETRAD_KERNEL(decode_product_halves, DecodeProductArgs, 256) {
  decode_product<HalfTile<Fragment>, false>(args);
}
TETRAD_KERNEL(decode_product_one_codes, DecodeProductArgs, 256) {
  decode_product<CodeTile<Fragment>, true>(args);
}
TETRAD_KERNEL(decode_product_one_halves, DecodeProductArgs, 256) {
  decode_product<HalfTile<Fragment>, true>(args);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
