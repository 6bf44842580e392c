#pragma once

// The work of a few tokens' experts, dealt out to blocks and warps, where it lies in a block's
// shared memory, and each warp's way through its segments (experts_stream.h).

#include "kernels/gpu/choose_experts.h"
#include "kernels/gpu/group_by_expert.h"
#include "kernels/gpu/weight_stream.h"

namespace tetrad::gpu {

static_assert(kStreamThreads >= kChoiceThreads);

/// Tokens of an expert that a pass over its weights takes: a tile of the fragment.
inline constexpr uint32_t kPassTokens = 8;
/// Pairs of tokens and experts of a launch, at most: there is room for their passes.
inline constexpr uint32_t kMaxStreamedPairs = 2048;
inline constexpr uint32_t kMaxStreamedPasses = kMaxExperts + kMaxStreamedPairs / kPassTokens;
static_assert(kFewTokens <= kPassTokens);

/// w1 and w3, or w2, of some tiles of rows, and which of these a block takes. It stands in shared
/// memory, since a choice between arguments would put these into memory.
struct StreamedPart {
  const char* tiles[2];  // of expert 0
  uint64_t expert_stride;
  uint32_t num_matrices;
  uint32_t row_tiles;  // of an expert
  uint32_t num_segments;
  uint32_t begin;  // of the block's: tiles of rows of one expert after the other, pass by pass
  uint32_t end;
};
/// In their order: w1 and w3 of the first tiles and of all others, then w2 likewise. What w2's
/// first tiles need comes of the first part, and so is there long before it is looked for.
inline constexpr uint32_t kStreamedParts = 4;

/// Where what lies in a block's shared memory, in bytes.
struct ExpertsStreamLayout {
  uint32_t arrivals = kWideTableBytes;
  uint32_t chunks = arrivals + kArrivalBytes;
  uint32_t passes_of_warps = chunks + kStreamChunkBytes;
  uint32_t parts = passes_of_warps + 16 * 4;
  uint32_t passes = parts + kStreamedParts * sizeof(StreamedPart);
  uint32_t pairs = passes + kMaxStreamedPasses * sizeof(ActiveExpert);
  uint32_t rows = pairs + kMaxStreamedPairs * 4;
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
