#pragma once

// How weights lie in a GPU's memory: in tiles of 16 rows by 64 columns, each the bytes that the
// lanes of a warp want, in their order, so that every load is 16 consecutive bytes a lane. Made
// once when the model is loaded (pack_weights.h); 5.0 bits a weight stay 5.0 bits.
//
//   codes  [32 lanes][4 groups] words of 8 codes, then
//          [rows of F::a_row(lane, 0)][F::kRowsOfLane][4 groups] FP16 scales       640 bytes
//   halves [4 groups][32 lanes] x 8 halves                                        2048 bytes
//
// A lane's word of a group holds, for each of its rows i, the codes of its columns (fragment.h),
// the first in the lowest bits. Tiles of a matrix: [row tile][column tile]; what is beyond the
// matrix is zero.

#include "gpu/fragment.h"

namespace tetrad::gpu {

inline constexpr uint32_t kTileRows = 16;
inline constexpr uint32_t kTileColumns = 64;
inline constexpr uint32_t kTileGroups = 4;  // of 16 columns
inline constexpr uint32_t kCodeTileBytes = 640;
inline constexpr uint32_t kHalfTileBytes = 2048;

/// Sums over columns are cut here: each stretch is one chain of multiply-adds from zero, and the
/// stretches are added in their order. All kernels do so, which is why a token's results do not
/// depend on which kernel computed them.
inline constexpr uint32_t kSegmentColumns = 768;
inline constexpr uint32_t kSegmentTiles = kSegmentColumns / kTileColumns;

enum class TileFormat : uint32_t { codes, halves };

constexpr uint32_t tile_bytes(TileFormat format) {
  return format == TileFormat::codes ? kCodeTileBytes : kHalfTileBytes;
}
constexpr uint32_t tiles_for(uint32_t count, uint32_t tile) {
  return (count + tile - 1) / tile;
}

/// W[rows, cols] in tiles. W = what the tiles say * scale, a power of two: it keeps products of a
/// code and a group's scale within the range of a half.
struct PackedMatrix {
  const char* tiles = nullptr;
  uint32_t rows = 0;
  uint32_t cols = 0;
  TileFormat format = TileFormat::codes;
  float scale = 1;
};

constexpr uint64_t packed_bytes(TileFormat format, uint32_t rows, uint32_t cols) {
  return static_cast<uint64_t>(tiles_for(rows, kTileRows)) * tiles_for(cols, kTileColumns) *
         tile_bytes(format);
}

/// 16-bit activations stand in the order in which matrix units number the columns of a group:
/// column k of a row at activation_offset(k).
template <class F>
TETRAD_DEVICE constexpr uint32_t activation_offset(uint32_t k) {
  if constexpr (F::kColumnsOfLane == 4) return k / 16 * 16 + k % 4 / 2 * 8 + k % 16 / 4 * 2 + k % 2;
  return k;
}
/// Halves from one row of activations to the next in shared memory, so that the lanes of a load hit
/// different banks.
template <class F>
TETRAD_DEVICE constexpr uint32_t activation_stride(uint32_t cols) {
  return tiles_for(cols, kTileColumns) * kTileColumns + (F::kColumnsOfLane == 4 ? 8 : 32);
}

/// Of the column tiles of a matrix, those of a segment: fewer of its last one.
TETRAD_DEVICE constexpr uint32_t tiles_of_segment(uint32_t column_tiles, uint32_t segment) {
  const uint32_t left = column_tiles - segment * kSegmentTiles;
  return left < kSegmentTiles ? left : kSegmentTiles;
}
/// Where a segment of a tile of rows begins.
template <class Tile>
TETRAD_DEVICE const char* segment_at(const char* matrix, uint32_t column_tiles, uint32_t row_tile,
                                     uint32_t segment) {
  return matrix +
         (static_cast<uint64_t>(row_tile) * column_tiles + segment * kSegmentTiles) * Tile::kBytes;
}

/// B of groups 2 p and 2 p + 1 of a stretch of 64 columns, by all lanes. `piece_at`: where the
/// n-th 8 halves of the stretch are, of the token F::row_to_load(lane()).
template <class F, class PieceAt>
TETRAD_DEVICE void load_b(const PieceAt& piece_at, uint32_t pair, uint32_t (&b)[2][F::kB]) {
  if constexpr (F::kColumnsOfLane == 4) {
    F::load_four(b, [&](uint32_t i) TETRAD_INLINE { return piece_at(pair * 4 + i); });
  } else {
    TETRAD_UNROLL
    for (uint32_t g = 0; g < 2; ++g) {
      const uint32_t piece = pair * 4 + g * 2 + F::first_k(lane()) / 8;
      const Words4 words = *reinterpret_cast<const Words4*>(piece_at(piece));
      TETRAD_UNROLL
      for (uint32_t i = 0; i < F::kB; ++i)
        b[g][i] = words.word[i];
    }
  }
}

/// Pairs of levels by their byte of codes, once for each lane so that no two lanes of a warp want
/// the same bank: [256][32]. Two codes become two halves by one load.
inline constexpr uint32_t kLevelTableBytes = 256 * 32 * 4;

/// Written by `num_threads` of the block's threads, a multiple of 128 and at most 2048, of which
/// this one is the `thread`th; a sync_block() must follow. A thread writes 16 bytes for some bytes
/// of codes that have their low code in common.
template <uint32_t kRowWords = 32>
TETRAD_DEVICE void fill_level_table(uint32_t* table, const int8_t (&codebook)[16],
                                    uint32_t num_threads, uint32_t thread = thread_index()) {
  const uint32_t first = thread / 8;
  // Threads of a warp write to 32 different banks: the place in the row turns with the row.
  const uint32_t place = (thread + first) % 8 * 4;
  const uint32_t low = float_to_half(static_cast<float>(codebook[first % 16]));
  for (uint32_t byte = first; byte < 256; byte += num_threads / 8) {
    const int8_t high_level = codebook[byte / 16];
    const uint32_t pair = low | static_cast<uint32_t>(float_to_half(static_cast<float>(high_level)))
                                    << 16;
    *reinterpret_cast<Words4*>(table + byte * kRowWords + place) = {{pair, pair, pair, pair}};
  }
}

/// The levels of byte `byte` of a word of codes. Shifting the byte to where the table wants it and
/// putting the lane below it are two instructions.
TETRAD_DEVICE uint32_t level_pair(const uint32_t* table, uint32_t codes, uint32_t byte) {
  const uint32_t shifted = byte == 0 ? codes << 7 : codes >> (8 * byte - 7);
  const uint32_t offset = (shifted & 0x7F80u) | lane() * 4;
  return *reinterpret_cast<const uint32_t*>(reinterpret_cast<const char*>(table) + offset);
}

/// What a lane holds of one tile of codes.
template <class F>
struct CodeTile {
  static constexpr uint32_t kBytes = kCodeTileBytes;
  static constexpr bool kIsOperand = false;  // what it holds is A as it is
  uint32_t codes[kTileGroups];
  uint32_t scales[2 * F::kRowsOfLane];

  TETRAD_DEVICE void load(const char* tile) {
    const uint32_t l = lane();
    load_once(codes, tile + l * 16);
    const char* mine = tile + 512 + F::a_row(l, 0) * F::kRowsOfLane * 8;
    if constexpr (F::kRowsOfLane == 2) {
      load_once(scales, mine);
    } else {
      const Words2 two = *reinterpret_cast<const Words2*>(mine);
      scales[0] = two.word[0];
      scales[1] = two.word[1];
    }
  }

  /// As load(), from shared memory.
  TETRAD_DEVICE void load_staged(const char* tile) {
    const uint32_t l = lane();
    const Words4 words = *reinterpret_cast<const Words4*>(tile + l * 16);
    TETRAD_UNROLL
    for (uint32_t group = 0; group < kTileGroups; ++group)
      codes[group] = words.word[group];
    static_assert(F::kRowsOfLane == 2);
    const Words4 four = *reinterpret_cast<const Words4*>(tile + 512 + F::a_row(l, 0) * 16);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < 4; ++i)
      scales[i] = four.word[i];
  }

  /// A of group `group`: level times scale, rounded once to a half.
  template <uint32_t group>
  TETRAD_DEVICE void unpack(const uint32_t* table, uint32_t (&a)[F::kA]) const {
    look_up<group>(table, a);
    scale<group>(a, a);
  }
  /// The same in two steps.
  template <uint32_t group>
  TETRAD_DEVICE void look_up(const uint32_t* table, uint32_t (&levels)[F::kA]) const {
    constexpr uint32_t kPairs = F::kColumnsOfLane / 2;
    TETRAD_UNROLL
    for (uint32_t row = 0; row < F::kRowsOfLane; ++row) {
      TETRAD_UNROLL
      for (uint32_t j = 0; j < kPairs; ++j)
        levels[F::a_register(row, j)] = level_pair(table, codes[group], row * kPairs + j);
    }
  }
  template <uint32_t group>
  TETRAD_DEVICE void scale(const uint32_t (&levels)[F::kA], uint32_t (&a)[F::kA]) const {
    TETRAD_UNROLL
    for (uint32_t row = 0; row < F::kRowsOfLane; ++row) {
      const uint32_t of_row = double_half<group % 2>(scales[2 * row + group / 2]);
      TETRAD_UNROLL
      for (uint32_t j = 0; j < F::kColumnsOfLane / 2; ++j) {
        const uint32_t i = F::a_register(row, j);
        a[i] = multiply_halves(levels[i], of_row);
      }
    }
  }
};

/// What a lane holds of one tile of halves.
template <class F>
struct HalfTile {
  static constexpr uint32_t kBytes = kHalfTileBytes;
  static constexpr bool kIsOperand = true;
  uint32_t words[kTileGroups][4];

  TETRAD_DEVICE void load(const char* tile) {
    TETRAD_UNROLL
    for (uint32_t group = 0; group < kTileGroups; ++group)
      load_once(words[group], tile + group * 512 + lane() * 16);
  }
  template <uint32_t group>
  TETRAD_DEVICE void unpack(const uint32_t*, uint32_t (&a)[F::kA]) const {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < F::kA; ++i)
      a[i] = words[group][i];
  }
};

}  // namespace tetrad::gpu
