#pragma once

// Weights that come to shared memory by copies that run by themselves, so that a warp asks for what
// it needs long before: a multiprocessor must have some 40 KB on their way to read at the card's
// rate, also while its warps wait for something else. For a token alone (experts_of_one.h) and for
// a few (experts_stream.h), on machines that have such copies (NVIDIA's).

#include "kernels/gpu/wide_level_table.h"

namespace tetrad::gpu {

/// Tiles of one copy: half a segment.
inline constexpr uint32_t kChunkTiles = 6;
inline constexpr uint32_t kChunkBytes = kChunkTiles * kCodeTileBytes;
inline constexpr uint32_t kChunksOfSegment = kSegmentTiles / kChunkTiles;
static_assert(kSegmentTiles % kChunkTiles == 0);
/// Chunks a warp has room for.
inline constexpr uint32_t kChunksAhead = 2;
inline constexpr uint32_t kSegmentBytes = kSegmentTiles * kCodeTileBytes;

/// A block of the kernels whose weights come so.
inline constexpr uint32_t kStreamThreads = 384;
inline constexpr uint32_t kStreamWarps = kStreamThreads / 32;
/// Shared memory for what its warps have on their way: the chunks of all, and where they arrive.
inline constexpr uint32_t kStreamChunkBytes = kStreamWarps * kChunksAhead * kChunkBytes;
inline constexpr uint32_t kArrivalBytes = 256;
static_assert(kStreamWarps * kChunksAhead * 8 <= kArrivalBytes);

/// Where column k of one token stands, so that lane c of the first four of a warp, which alone
/// have the columns of a fragment's first token, finds its part of 32 columns in 16 bytes.
TETRAD_DEVICE constexpr uint32_t one_token_offset(uint32_t k) {
  return k / 32 * 32 + k % 16 / 4 * 8 + k % 32 / 16 * 4 + k % 4;
}

namespace TETRAD_MACHINE {

/// One warp's segments, one after the other in the order in which `Walk` goes over them:
/// walk.segment() is where the next one lies, null at the end, and walk.next() goes on.
template <class Walk>
class WeightStream {
 public:
  /// `chunks` and `arrivals`: of all warps of the block. By all lanes, as all else here.
  TETRAD_DEVICE WeightStream(char* chunks, char* arrivals)
      : chunks_(chunks + warp() * kChunksAhead * kChunkBytes),
        arrivals_(reinterpret_cast<uint64_t*>(arrivals) + warp() * kChunksAhead) {}
  /// By one warp for all of the block, which must meet before start(): it takes some 0.6 us.
  TETRAD_DEVICE static void init(char* arrivals) {
    static_assert(kStreamWarps * kChunksAhead <= 32);
    if (lane() < kStreamWarps * kChunksAhead)
      init_arrivals(reinterpret_cast<uint64_t*>(arrivals) + lane());
  }
  /// By all warps of the block, which meet in it: the first chunks of all are asked for before any
  /// second one, and what the threads wrote before, or in `meanwhile`, is there after it. What the
  /// threads had in `chunks` before must have been left to copies.
  template <class Meanwhile>
  TETRAD_DEVICE void start(const Walk& walk, const Meanwhile& meanwhile) {
    walk_ = walk;
    next_ = walk_.segment();
    ask(0);
    meanwhile();
    sync_block();
    for (uint32_t i = 1; i < kChunksAhead; ++i)
      ask(i);
  }
  /// The next chunk, when it is there.
  TETRAD_DEVICE const char* wait() {
    wait_for_arrival(arrivals_ + at_, parity_);
    return chunks_ + at_ * kChunkBytes;
  }
  /// The warp has read it: another comes in its place.
  TETRAD_DEVICE void release() {
    sync_warp();
    ask(at_);
    if (++at_ < kChunksAhead) return;
    at_ = 0;
    parity_ ^= 1;
  }

 private:
  TETRAD_DEVICE void ask(uint32_t place) {
    if (next_ == nullptr) return;
    if (lane() == 0)
      copy_bulk(chunks_ + place * kChunkBytes, next_, kChunkBytes, arrivals_ + place);
    next_ += kChunkBytes;
    if (++asked_of_segment_ < kChunksOfSegment) return;
    asked_of_segment_ = 0;
    walk_.next();
    next_ = walk_.segment();
  }

  char* chunks_;
  uint64_t* arrivals_;
  Walk walk_;
  const char* next_ = nullptr;
  uint32_t asked_of_segment_ = 0;
  uint32_t at_ = 0;
  uint32_t parity_ = 0;
};

/// 8 halves of a token in activation_offset order, the `piece`th, in one_token_offset order.
TETRAD_DEVICE void store_piece(uint32_t* token, uint32_t piece, const Words4& halves) {
  TETRAD_UNROLL
  for (uint32_t c = 0; c < 4; ++c)
    token[piece / 4 * 16 + c * 4 + piece % 4] = halves.word[c];
}

/// sums += W x of a chunk. `x`: the halves of the lane's token, that of column lane() / 4 of the
/// sums, in one_token_offset order, from 8 * (lane() % 4) after the chunk's first column on. The
/// levels of a tile are looked up while the products of the one before are computed.
/// `b`: any numbers; lanes whose token is not there never get others.
TETRAD_DEVICE void multiply_chunk(const char* chunk, const uint16_t* x, bool is_there,
                                  const uint32_t* table, uint32_t (&b)[4],
                                  float (&sums)[Fragment::kD]) {
  static_assert(Fragment::kColumnsOfLane == 4);
  constexpr uint32_t kPairs = Fragment::kColumnsOfLane / 2;
  constexpr uint32_t kLevels = kTileGroups * Fragment::kA;
  CodeTile<Fragment> tiles[3];
  uint32_t levels[2][kLevels];
  const auto load = [&](uint32_t i)
                        TETRAD_INLINE { tiles[i % 3].load_staged(chunk + i * kCodeTileBytes); };
  const auto look_up = [&](uint32_t i) TETRAD_INLINE {
    TETRAD_UNROLL
    for (uint32_t j = 0; j < kLevels; ++j) {
      const uint32_t codes = tiles[i % 3].codes[j / Fragment::kA];
      levels[i % 2][j] = wide_level_pair(table, codes, j % Fragment::kA);
    }
  };
  load(0);
  load(1);
  look_up(0);
  TETRAD_UNROLL
  for (uint32_t i = 0; i < kChunkTiles; ++i) {
    if (i + 2 < kChunkTiles) load(i + 2);
    if (i + 1 < kChunkTiles) look_up(i + 1);
    TETRAD_UNROLL
    for (uint32_t half = 0; half < 2; ++half) {
      load_shared_16_if(is_there, b, x + i * kTileColumns + half * 32);
      TETRAD_UNROLL
      for (uint32_t g = 0; g < 2; ++g) {
        const uint32_t group = 2 * half + g;
        uint32_t a[Fragment::kA];
        TETRAD_UNROLL
        for (uint32_t row = 0; row < Fragment::kRowsOfLane; ++row) {
          const uint32_t scales = tiles[i % 3].scales[2 * row + half];
          const uint32_t scale = g == 0 ? double_half<0>(scales) : double_half<1>(scales);
          TETRAD_UNROLL
          for (uint32_t j = 0; j < kPairs; ++j)
            a[Fragment::a_register(row, j)] =
                multiply_halves(levels[i % 2][group * Fragment::kA + row * kPairs + j], scale);
        }
        const uint32_t of_group[Fragment::kB] = {b[2 * g], b[2 * g + 1]};
        Fragment::multiply_add(sums, a, of_group);
      }
    }
  }
}

/// sums += W x of the stream's next segment; `x` as for a chunk. After the first chunk `then` is
/// done.
template <class Walk, class Then>
TETRAD_DEVICE void multiply_segment(WeightStream<Walk>& stream, const uint16_t* x, bool is_there,
                                    const uint32_t* table, uint32_t (&b)[4],
                                    float (&sums)[Fragment::kD], const Then& then) {
  TETRAD_NO_UNROLL
  for (uint32_t chunk = 0; chunk < kChunksOfSegment; ++chunk) {
    multiply_chunk(stream.wait(), x + chunk * kChunkTiles * kTileColumns, is_there, table, b, sums);
    stream.release();
    if (chunk == 0) then();
  }
}
template <class Walk>
TETRAD_DEVICE void multiply_segment(WeightStream<Walk>& stream, const uint16_t* x, bool is_there,
                                    const uint32_t* table, uint32_t (&b)[4],
                                    float (&sums)[Fragment::kD]) {
  multiply_segment(stream, x, is_there, table, b, sums, [] {});
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
