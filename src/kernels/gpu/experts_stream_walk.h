#pragma once

// The work of a few tokens' experts: how it is dealt out to blocks and warps, where it lies in a
// block's shared memory, and each warp's way through its segments (experts_stream.h).

#include "kernels/gpu/choose_experts.h"
#include "kernels/gpu/group_by_expert.h"
#include "kernels/gpu/weight_stream.h"

namespace tetrad::gpu {

static_assert(kStreamThreads >= kChoiceThreads);

/// One token has experts_of_one.h.
inline constexpr uint32_t kLeastStreamedTokens = 2;
/// Where w2's columns are no whole segments, as on one of four ranks, w1 and w3 alone are streamed:
/// from so many tokens on (two to four were faster by decode_experts.h when both were like that).
inline constexpr uint32_t kLeastStreamedUpTokens = 5;
/// Tokens of an expert that a pass over its weights takes: a tile of the fragment.
inline constexpr uint32_t kPassTokens = 8;
/// Pairs of tokens and experts of a launch, at most: there is room for their passes.
inline constexpr uint32_t kMaxStreamedPairs = 2048;
inline constexpr uint32_t kMaxStreamedPasses = kMaxExperts + kMaxStreamedPairs / kPassTokens;
static_assert(kFewTokens <= kPassTokens);
/// Segments of tokens' columns that a block's threads bring at a time, 16 bytes each eight times.
inline constexpr uint32_t kSegmentsAtOnce = 8 * kStreamThreads / (kSegmentColumns / 8);
/// So that those of a pass are brought at a time.
inline constexpr uint32_t kMaxStreamedColumns = kSegmentsAtOnce / kPassTokens * kSegmentColumns;

/// products[pair] = w2 (silu(w1 x) * (w3 x)) of the pair's expert and token; without rows of w2 the
/// hidden values alone.
struct ExpertsStreamArgs {
  PackedMatrix w1;  // of expert 0: [intermediate_size, hidden_size], of codes; columns are whole
  PackedMatrix w3;  // segments. Expert e's tiles follow at e * up_stride bytes
  PackedMatrix w2;  // of expert 0: [hidden_size, intermediate_size], the next at down_stride
  uint64_t up_stride = 0;
  uint64_t down_stride = 0;
  int8_t codebook[16] = {};
  const uint16_t* x = nullptr;  // [T, x_stride] halves in activation_offset order
  uint32_t x_stride = 0;
  ExpertChoice choice;  // made here for up to kFewTokens tokens
  ExpertLists lists;    // written for these, read for more
  // Words of two halves that are kNotYet before: [pairs, hidden_stride / 2], in activation_offset
  // order.
  uint32_t* hidden = nullptr;
  uint32_t hidden_stride = 0;
  float* products = nullptr;  // [pairs, hidden_size]

  TETRAD_DEVICE uint32_t num_hidden_words() const {
    return choice.num_tokens * choice.num_experts_per_tok * hidden_stride / 2;
  }
};

/// A pair and its token.
class StreamedPair {
 public:
  TETRAD_DEVICE StreamedPair(uint32_t pair, uint32_t pairs_per_token)
      : both_(pair / pairs_per_token << 16 | pair) {}
  TETRAD_DEVICE uint32_t pair() const { return both_ & 0xFFFFu; }
  TETRAD_DEVICE uint32_t token() const { return both_ >> 16; }

 private:
  uint32_t both_;
};
static_assert(kMaxStreamedPairs <= 1u << 16);

/// w1 and w3, or w2, of some tiles of rows, and which of these a block takes. It stands in shared
/// memory, since a choice between arguments would put these into memory.
struct StreamedPart {
  const char* tiles[2];  // of expert 0
  uint64_t expert_stride;
  const void* columns;  // halves that are multiplied: of each token or, by w2, of each pair
  uint32_t columns_stride;
  uint32_t num_matrices;
  uint32_t row_tiles;  // of an expert
  uint32_t num_segments;
  uint32_t begin;  // of the block's: tiles of rows of one expert after the other, pass by pass
  uint32_t end;
};
/// In their order: w1 and w3 of the first tiles and of all others, then w2 likewise. What w2's
/// first tiles need comes of the first part, and so is there long before it is looked for.
inline constexpr uint32_t kStreamedParts = 4;

/// The index-th part of a block's.
TETRAD_DEVICE constexpr StreamedPart streamed_part(const ExpertsStreamArgs& args, uint32_t index,
                                                   uint32_t num_passes, uint32_t block,
                                                   uint32_t num_blocks) {
  const bool is_up = index < kStreamedParts / 2;
  // Both before one is taken.
  const PackedMatrix w1 = args.w1;
  const PackedMatrix w2 = args.w2;
  const void* columns[2] = {args.x, args.hidden};
  const uint32_t columns_strides[2] = {args.x_stride, args.hidden_stride};
  const uint64_t strides[2] = {args.up_stride, args.down_stride};
  const uint32_t up_tiles = w1.rows / kTileRows;
  const uint32_t down_tiles = w2.rows / kTileRows;
  // A tile for each warp of all blocks, or several, so that a block's end together.
  const uint32_t round = num_blocks * kStreamWarps;
  const uint32_t first_up = num_passes * up_tiles < round ? 0 : round;
  // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): there are blocks
  const uint32_t first_down = first_up / up_tiles * down_tiles / round * round;
  const uint32_t row_tiles = is_up ? up_tiles : down_tiles;
  const uint32_t first = is_up ? first_up : first_down;
  const uint32_t begin = index % 2 == 0 ? 0 : first;
  const uint32_t count = (index % 2 == 0 ? first : num_passes * row_tiles) - begin;
  return {.tiles = {is_up ? w1.tiles : w2.tiles, args.w3.tiles},
          .expert_stride = is_up ? strides[0] : strides[1],
          .columns = is_up ? columns[0] : columns[1],
          .columns_stride = is_up ? columns_strides[0] : columns_strides[1],
          .num_matrices = is_up ? 2u : 1u,
          .row_tiles = row_tiles,
          .num_segments = (is_up ? w1.cols : w2.cols) / kSegmentColumns,
          .begin = begin + count * block / num_blocks,
          .end = begin + count * (block + 1) / num_blocks};
}

/// Where what lies in a block's shared memory, in bytes.
struct ExpertsStreamLayout {
  uint32_t arrivals = kWideTableBytes;
  uint32_t chunks = arrivals + kArrivalBytes;
  uint32_t passes_of_warps = chunks + kStreamChunkBytes;
  uint32_t parts = passes_of_warps + 16 * sizeof(uint32_t);
  uint32_t passes = parts + kStreamedParts * sizeof(StreamedPart);
  static_assert(sizeof(StreamedPart) % 8 == 0 && kStreamedParts % 2 == 0 && kStreamWarps <= 16);
  uint32_t pairs = passes + kMaxStreamedPasses * sizeof(ActiveExpert);
  uint32_t rows = pairs + kMaxStreamedPairs * sizeof(StreamedPair);
  uint32_t end;

  TETRAD_DEVICE constexpr ExpertsStreamLayout(uint32_t up_cols, uint32_t down_cols)
      : end(rows + kPassTokens * row_bytes(up_cols > down_cols ? up_cols : down_cols)) {}
  /// The second of two rows is where the first leaves banks.
  TETRAD_DEVICE static constexpr uint32_t row_bytes(uint32_t cols) { return cols * 2 + 64; }
};
static_assert(sizeof(ChoiceMemory) <= kStreamChunkBytes);

namespace TETRAD_MACHINE {

/// Passes over experts' weights, each with up to kPassTokens of the expert's pairs.
struct ExpertPasses {
  const ActiveExpert* passes;
  uint32_t count;

  /// By all threads of the block; a sync_block() must follow. `is_few`: of up to kFewTokens tokens.
  TETRAD_DEVICE ExpertPasses(const ExpertLists& lists, bool is_few, ActiveExpert* memory,
                             uint32_t* passes_of_warps)
      : passes(memory), count(*lists.num_active) {
    const uint32_t mine = thread_index();
    ActiveExpert active;
    if (mine < count) {
      const Words4 words = *reinterpret_cast<const Words4*>(lists.active + mine);
      active = {words.word[0], words.word[1], words.word[2], 0};
    }
    if (is_few) {
      if (mine < count) memory[mine] = active;
      return;
    }
    const uint32_t own = tiles_for(active.num_pairs, kPassTokens);
    const uint32_t to_here = sum_of_lanes_before(own);
    if (lane() == 31) passes_of_warps[warp()] = to_here;
    sync_block();
    uint32_t place = to_here - own;
    count = 0;
    TETRAD_UNROLL
    for (uint32_t w = 0; w < kStreamWarps; ++w) {
      place += w < warp() ? passes_of_warps[w] : 0;
      count += passes_of_warps[w];
    }
    for (uint32_t done = 0; done < active.num_pairs; done += kPassTokens) {
      memory[place++] = {active.expert, active.first_pair + done,
                         smaller_of(active.num_pairs - done, kPassTokens), 0};
    }
  }
};

/// The tiles of rows that a warp takes of its block's: every kStreamWarps-th, part after part.
struct StreamedUnit {
  const StreamedPart* part = nullptr;
  const StreamedPart* end_of_parts = nullptr;
  uint32_t unit = 0;

  StreamedUnit() = default;
  TETRAD_DEVICE explicit StreamedUnit(const StreamedPart (&parts)[kStreamedParts])
      : part(parts), end_of_parts(parts + kStreamedParts), unit(parts[0].begin + warp()) {
    find();
  }
  TETRAD_DEVICE bool is_done() const { return part == end_of_parts; }
  TETRAD_DEVICE void next() {
    unit += kStreamWarps;
    find();
  }
  TETRAD_DEVICE uint32_t pass() const { return unit / part->row_tiles; }
  TETRAD_DEVICE uint32_t first_row() const { return unit % part->row_tiles * kTileRows; }

 private:
  TETRAD_DEVICE void find() {
    TETRAD_NO_UNROLL
    while (unit >= part->end) {
      const uint32_t beyond = unit - part->end;
      if (++part == end_of_parts) return;
      unit = part->begin + beyond;
    }
  }
};

/// A warp's way through its segments: of each tile of rows those of one matrix, then those of the
/// other, if there are two.
class StreamWalk {
 public:
  StreamWalk() = default;
  TETRAD_DEVICE StreamWalk(const StreamedPart (&parts)[kStreamedParts], const ExpertPasses& passes)
      : at_(parts), passes_(passes.passes) {
    find();
  }
  TETRAD_DEVICE const char* segment() const { return segment_; }
  TETRAD_DEVICE void next() {
    segment_ += kSegmentBytes;
    if (--left_ > 0) return;
    if (++matrix_ == at_.part->num_matrices) {
      matrix_ = 0;
      at_.next();
    }
    find();
  }

 private:
  TETRAD_DEVICE void find() {
    segment_ = nullptr;
    if (at_.is_done()) return;
    const StreamedPart& part = *at_.part;
    const uint32_t pass = at_.pass();
    left_ = part.num_segments;
    segment_ = part.tiles[matrix_] + passes_[pass].expert * part.expert_stride +
               static_cast<uint64_t>((at_.unit - pass * part.row_tiles) * left_) * kSegmentBytes;
  }

  StreamedUnit at_;
  const ActiveExpert* passes_ = nullptr;
  uint32_t matrix_ = 0;
  uint32_t left_ = 0;  // segments of the tile
  const char* segment_ = nullptr;
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
