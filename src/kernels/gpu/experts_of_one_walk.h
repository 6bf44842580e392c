#pragma once

// The work of one token's experts, dealt out to blocks and warps: each warp's steps, a segment
// each, first of w1 and w3, then of w2 (experts_of_one.h). They are planned before the picks are
// known, while a warp has nothing else to do: what dividing takes between two segments is missing
// there.

#include "kernels/gpu/choose_for_one.h"
#include "kernels/gpu/weight_stream.h"

namespace tetrad::gpu {

/// residual (+)= sum over picks, in order, of weight * w2 (silu(w1 x) * (w3 x)).
struct ExpertsOfOneArgs {
  PackedMatrix w1;  // of expert 0: [intermediate_size, hidden_size], of codes; both sizes are whole
  PackedMatrix w3;  // segments. Expert e's tiles follow at e * up_stride bytes
  PackedMatrix w2;  // of expert 0: [hidden_size, intermediate_size], the next at down_stride
  uint64_t up_stride = 0;
  uint64_t down_stride = 0;
  int8_t codebook[16] = {};
  const uint16_t* x = nullptr;  // [hidden_size] halves in activation_offset order
  ExpertChoice choice;          // of one token; made here
  // Words of two halves that are kNotYet before: [num_experts_per_tok, intermediate_size / 2], in
  // one_token_offset order.
  uint32_t* hidden = nullptr;
  // Floats that are kNotYet before and after: [num_experts_per_tok / 2, hidden_size], what a pick
  // of the first half gave where another block adds up.
  float* products = nullptr;
  float* residual = nullptr;  // [hidden_size]
  uint32_t add = 1;           // 0: what stood in the residual is another rank's to bring

  TETRAD_DEVICE uint32_t num_hidden_words() const {
    return choice.num_experts_per_tok * w1.rows / 2;
  }
  TETRAD_DEVICE uint32_t num_products() const { return choice.num_experts_per_tok / 2 * w2.rows; }
};

/// How the work is dealt out, and what of it a block has at most.
struct ExpertsOfOneWork {
  uint32_t up_tiles;     // of rows of w1 or w3
  uint32_t up_segments;  // of columns
  uint32_t down_tiles;   // of w2
  uint32_t down_segments;
  uint32_t num_blocks;
  uint32_t num_pairs;  // of blocks, which share some tiles of w2

  TETRAD_DEVICE constexpr ExpertsOfOneWork(const PackedMatrix& w1, const PackedMatrix& w2,
                                           uint32_t blocks)
      : up_tiles(w1.rows / kTileRows),
        up_segments(w1.cols / kSegmentColumns),
        down_tiles(w2.rows / kTileRows),
        down_segments(w2.cols / kSegmentColumns),
        num_blocks(blocks),
        num_pairs(blocks / 2) {}

  /// A strip: a tile of rows of w1 and the same of w3, of one pick.
  TETRAD_DEVICE constexpr uint32_t strips_of_block(uint32_t num_picks) const {
    return tiles_for(num_picks * up_tiles, num_blocks);
  }
  TETRAD_DEVICE constexpr uint32_t segments_of_strip() const { return 2 * up_segments; }
  /// Each block of a pair has half of the tiles; of an odd one, half of the picks.
  TETRAD_DEVICE constexpr uint32_t down_segments_of_block(uint32_t num_picks) const {
    const uint32_t tiles = tiles_for(down_tiles, num_pairs);
    return (tiles / 2 * num_picks + tiles % 2 * tiles_for(num_picks, 2)) * down_segments;
  }
  TETRAD_DEVICE constexpr uint32_t segments_of_block(uint32_t num_picks) const {
    return strips_of_block(num_picks) * segments_of_strip() + down_segments_of_block(num_picks);
  }
  /// Blocks that have a strip less than the others: the last ones.
  TETRAD_DEVICE constexpr uint32_t blocks_of_fewer_strips(uint32_t num_picks) const {
    const uint32_t more = num_picks * up_tiles % num_blocks;
    return more == 0 ? 0 : num_blocks - more;
  }
};

/// A step of a warp: a segment, and what becomes of its sums.
struct alignas(16) ExpertStep {
  const char* tiles = nullptr;  // of expert 0; null at the end
  uint32_t tile = 0;            // of rows
  uint32_t place = 0;           // of its sums among the block's
  uint32_t first = 0;           // place of the first of those that are added up with them
  uint32_t unit = 0;            // whose arrivals it counts among, or kNobody
  uint16_t pick = 0;
  uint16_t column = 0;  // in segments
  uint32_t is_up = 0;   // of w1 or w3

  static constexpr uint32_t kNobody = ~0u;
};

/// Where what lies in a block's shared memory, in bytes.
struct ExpertsOfOneLayout {
  uint32_t arrivals = kWideTableBytes;
  uint32_t chunks = arrivals + kArrivalBytes;
  uint32_t hidden = chunks + kStreamChunkBytes;  // a segment for each warp
  uint32_t choice = hidden + kStreamWarps * kSegmentColumns * 2;
  uint32_t x = choice + tiles_for(sizeof(ChoiceOfOneMemory), 16) * 16;
  uint32_t parts = 0;  // floats [steps][kTileRows]: of strips, by segments, then of w2, by pick,
                       // tile and segment
  uint32_t steps = 0;  // the warps' first ones, then their second ones, and so on; one more at
                       // least for each, its end
  uint32_t num_steps = 0;
  uint32_t finished = 0;  // arrivals of segments' lanes: [strips], then [picks / 2], of a tile that
                          // another block adds up
  uint32_t end = 0;

  TETRAD_DEVICE constexpr ExpertsOfOneLayout(const ExpertsOfOneWork& work, uint32_t num_picks) {
    parts = x + work.up_segments * kSegmentColumns * 2;
    const uint32_t segments = work.segments_of_block(num_picks);
    steps = parts + segments * kTileRows * 4;
    num_steps = (tiles_for(segments, kStreamWarps) + 1) * kStreamWarps;
    finished = steps + num_steps * static_cast<uint32_t>(sizeof(ExpertStep));
    end = finished + (work.strips_of_block(num_picks) + num_picks / 2) * 8;
  }
};

namespace TETRAD_MACHINE {

/// What a block has of w2: whole tiles, and maybe half of one, which is some picks of it.
class DownShare {
 public:
  DownShare() = default;
  TETRAD_DEVICE DownShare(const ExpertsOfOneWork& work, uint32_t num_picks)
      : num_pairs_(work.num_pairs), num_picks_(num_picks) {
    if (block_x() / 2 >= num_pairs_) return;
    // The last pairs have a tile less. They are not those of blocks with a strip less.
    pair_ = (block_x() / 2 + work.blocks_of_fewer_strips(num_picks) / 2) % num_pairs_;
    adds_half_ = block_x() % 2 == 1;
    if (pair_ >= work.down_tiles) return;
    const uint32_t num_tiles = (work.down_tiles - pair_ + num_pairs_ - 1) / num_pairs_;
    num_whole_ = num_tiles / 2;
    has_half_ = num_tiles % 2;
  }
  TETRAD_DEVICE uint32_t num_picks() const { return num_picks_; }
  /// Of the half tile, the first num_told() picks are the block's that tells, the others the
  /// block's that adds up.
  TETRAD_DEVICE uint32_t num_told() const { return num_picks_ / 2; }
  TETRAD_DEVICE bool is_half(uint32_t unit) const { return unit == num_whole_; }
  TETRAD_DEVICE bool is_told(uint32_t unit) const { return is_half(unit) && !adds_half_; }
  /// Units are the block's tiles of a pick, the whole ones first. They are gone over pick by pick,
  /// but for those that another block waits for, which come before all.
  TETRAD_DEVICE uint32_t index_of(uint32_t pick, uint32_t unit) const {
    return is_told(unit) ? pick : first_added(pick) + unit;
  }
  TETRAD_DEVICE uint32_t num_units() const { return first_added(num_picks_); }
  struct Unit {
    uint32_t pick;
    uint32_t unit;
  };
  /// The one with this index.
  TETRAD_DEVICE Unit unit_at(uint32_t index) const {
    if (index < first_added(0)) return {index, num_whole_};
    uint32_t pick = 0;
    while (index >= first_added(pick + 1))
      ++pick;
    return {pick, index - first_added(pick)};
  }
  TETRAD_DEVICE uint32_t tile_of(uint32_t unit) const {
    const uint32_t nth = is_half(unit) ? 2 * num_whole_ : 2 * unit + adds_half_;
    return pair_ + nth * num_pairs_;
  }
  /// Tiles that this block adds up.
  TETRAD_DEVICE uint32_t num_sums() const { return num_whole_ + (adds_half_ ? has_half_ : 0); }

 private:
  /// Index of the first of a pick's units that this block adds up.
  TETRAD_DEVICE uint32_t first_added(uint32_t pick) const {
    const uint32_t halves = adds_half_ ? pick - smaller_of(pick, num_told()) : num_told();
    return has_half_ * halves + pick * num_whole_;
  }

  uint32_t pair_ = 0;
  uint32_t num_pairs_ = 0;
  uint32_t num_whole_ = 0;
  uint32_t has_half_ = 0;
  bool adds_half_ = false;
  uint32_t num_picks_ = 0;
};

/// What a block's steps are; ExpertsOfOneLayout says where each stands.
class ExpertPlan {
 public:
  TETRAD_DEVICE ExpertPlan(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                           const DownShare& share)
      : args_(args), work_(work), share_(share) {}

  /// Steps of w1 and w3, which come first.
  TETRAD_DEVICE uint32_t num_up() const {
    const uint32_t strips = share_.num_picks() * work_.up_tiles;
    if (block_x() >= strips) return 0;
    return tiles_for(strips - block_x(), work_.num_blocks) * work_.segments_of_strip();
  }
  TETRAD_DEVICE ExpertStep step(uint32_t index) const {
    return index < num_up() ? up_step(index) : down_step(index, index - num_up());
  }

 private:
  TETRAD_DEVICE ExpertStep up_step(uint32_t index) const {
    const uint32_t strip_of_block = index / work_.segments_of_strip();
    const uint32_t part = index % work_.segments_of_strip();  // segments of w1, then of w3
    const uint32_t strip = block_x() + strip_of_block * work_.num_blocks;
    const bool is_w1 = part < work_.up_segments;
    ExpertStep step;
    step.tile = strip % work_.up_tiles;
    step.place = index;
    step.first = index - part;
    step.unit = strip_of_block;
    step.pick = static_cast<uint16_t>(strip / work_.up_tiles);
    step.column = static_cast<uint16_t>(is_w1 ? part : part - work_.up_segments);
    step.is_up = 1;
    step.tiles = segment(is_w1 ? args_.w1 : args_.w3, work_.up_segments, step);
    return step;
  }
  TETRAD_DEVICE ExpertStep down_step(uint32_t index, uint32_t of_down) const {
    ExpertStep step;
    const uint32_t nth = of_down / work_.down_segments;
    if (nth >= share_.num_units()) return step;
    const auto [pick, unit] = share_.unit_at(nth);
    step.tile = share_.tile_of(unit);
    step.place = index;
    step.pick = static_cast<uint16_t>(pick);
    step.column = static_cast<uint16_t>(of_down % work_.down_segments);
    step.first = index - step.column;
    step.unit = share_.is_told(unit)
                    ? work_.strips_of_block(args_.choice.num_experts_per_tok) + pick
                    : ExpertStep::kNobody;
    step.tiles = segment(args_.w2, work_.down_segments, step);
    return step;
  }
  TETRAD_DEVICE static const char* segment(const PackedMatrix& matrix, uint32_t segments,
                                           const ExpertStep& of) {
    return matrix.tiles + static_cast<uint64_t>(of.tile * segments + of.column) * kSegmentBytes;
  }

  const ExpertsOfOneArgs& args_;
  const ExpertsOfOneWork& work_;
  const DownShare& share_;
};

/// Where a warp is on its way.
class OneWalk {
 public:
  OneWalk() = default;
  TETRAD_DEVICE OneWalk(const ExpertsOfOneArgs& args, const ExpertStep* steps,
                        const PicksOfOne& picks)
      : args_(&args), step_(steps + warp()), picks_(&picks) {}
  TETRAD_DEVICE const ExpertStep& step() const { return *step_; }
  TETRAD_DEVICE bool is_done() const { return step_->tiles == nullptr; }
  TETRAD_DEVICE void next() { step_ += kStreamWarps; }
  /// Where the segment lies; null at the end.
  TETRAD_DEVICE const char* segment() const {
    if (is_done()) return nullptr;
    const uint64_t stride = step_->is_up != 0 ? args_->up_stride : args_->down_stride;
    return step_->tiles + picks_->expert[step_->pick] * stride;
  }

 private:
  const ExpertsOfOneArgs* args_ = nullptr;
  const ExpertStep* step_ = nullptr;
  const PicksOfOne* picks_ = nullptr;
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
