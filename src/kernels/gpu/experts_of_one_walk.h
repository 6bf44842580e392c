#pragma once

// The work of one token's experts, dealt out to blocks and warps, and each warp's way through its
// segments: first of w1 and w3, then of w2 (experts_of_one.h).

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
};

/// Where what lies in a block's shared memory, in bytes.
struct ExpertsOfOneLayout {
  uint32_t arrivals = kWideTableBytes;
  uint32_t chunks = arrivals + kArrivalBytes;
  uint32_t hidden = chunks + kStreamChunkBytes;  // a segment for each warp
  uint32_t choice = hidden + kStreamWarps * kSegmentColumns * 2;
  uint32_t x = choice + tiles_for(sizeof(ChoiceOfOneMemory), 16) * 16;
  uint32_t up_parts = 0;    // floats [strips][segments of a strip][kTileRows]
  uint32_t down_parts = 0;  // floats [picks and tiles of w2][segments][kTileRows]
  uint32_t finished = 0;  // arrivals of segments' lanes: [strips], then [picks / 2], of a tile that
                          // another block adds up
  uint32_t end = 0;

  TETRAD_DEVICE constexpr ExpertsOfOneLayout(const ExpertsOfOneWork& work, uint32_t num_picks) {
    up_parts = x + work.up_segments * kSegmentColumns * 2;
    const uint32_t strips = work.strips_of_block(num_picks);
    down_parts = up_parts + strips * work.segments_of_strip() * kTileRows * 4;
    finished = down_parts + work.down_segments_of_block(num_picks) * kTileRows * 4;
    end = finished + (strips + num_picks / 2) * 8;
  }
};

namespace TETRAD_MACHINE {

/// A warp's way through its block's segments of w1 and w3.
struct UpWalk {
  uint32_t strip = 0;  // of the block
  uint32_t part = 0;   // segment of w1, then of w3
  uint32_t tile = 0;   // of rows
  uint32_t pick = 0;

  TETRAD_DEVICE bool is_w1(const ExpertsOfOneWork& work) const { return part < work.up_segments; }
  /// The segment's, in its matrix.
  TETRAD_DEVICE uint32_t column(const ExpertsOfOneWork& work) const {
    return is_w1(work) ? part : part - work.up_segments;
  }
  TETRAD_DEVICE void go_on(const ExpertsOfOneWork& work, uint32_t parts) {
    part += parts;
    for (; part >= work.segments_of_strip(); ++strip) {
      part -= work.segments_of_strip();
      tile += work.num_blocks;
    }
    for (; tile >= work.up_tiles; ++pick)
      tile -= work.up_tiles;
  }
};

/// What a block has of w2: whole tiles, and maybe half of one, which is some picks of it.
class DownShare {
 public:
  DownShare() = default;
  TETRAD_DEVICE explicit DownShare(const ExpertsOfOneWork& work) {
    pair_ = block_x() / 2;
    adds_half_ = block_x() % 2 == 1;
    num_pairs_ = work.num_pairs;
    if (pair_ >= num_pairs_ || pair_ >= work.down_tiles) return;
    const uint32_t num_tiles = (work.down_tiles - pair_ + num_pairs_ - 1) / num_pairs_;
    num_whole_ = num_tiles / 2;
    has_half_ = num_tiles % 2;
  }
  TETRAD_DEVICE void take(uint32_t num_picks) { num_picks_ = num_picks; }

  TETRAD_DEVICE uint32_t num_picks() const { return num_picks_; }
  /// Of the half tile, the first num_told() picks are the block's that tells, the others the
  /// block's that adds up.
  TETRAD_DEVICE uint32_t num_told() const { return num_picks_ / 2; }
  TETRAD_DEVICE bool is_half(uint32_t unit) const { return unit == num_whole_; }
  TETRAD_DEVICE bool is_told(uint32_t unit) const { return is_half(unit) && !adds_half_; }
  /// Units are the block's tiles of a pick, the whole ones first.
  TETRAD_DEVICE uint32_t num_units(uint32_t pick) const {
    return num_whole_ + (has_half_ != 0 && (pick >= num_told()) == adds_half_);
  }
  /// Of all picks before this one.
  TETRAD_DEVICE uint32_t units_before(uint32_t pick) const {
    const uint32_t others = adds_half_ ? num_told() : 0;
    const uint32_t end = adds_half_ ? num_picks_ : num_told();
    const uint32_t halves = smaller_of(pick, end) - smaller_of(pick, others);
    return pick * num_whole_ + has_half_ * halves;
  }
  TETRAD_DEVICE uint32_t tile_of(uint32_t unit) const {
    const uint32_t nth = is_half(unit) ? 2 * num_whole_ : 2 * unit + adds_half_;
    return pair_ + nth * num_pairs_;
  }
  /// Tiles that this block adds up.
  TETRAD_DEVICE uint32_t num_sums() const { return num_whole_ + (adds_half_ ? has_half_ : 0); }

 private:
  uint32_t pair_ = 0;
  uint32_t num_pairs_ = 0;
  uint32_t num_whole_ = 0;
  uint32_t has_half_ = 0;
  bool adds_half_ = false;
  uint32_t num_picks_ = 0;
};

/// A warp's way through its block's segments of w2: pick by pick, of each the block's units.
struct DownWalk {
  uint32_t index = 0;  // of the block's segments
  uint32_t segment = 0;
  uint32_t unit = 0;
  uint32_t pick = 0;

  TETRAD_DEVICE void go_on(const DownShare& share, uint32_t segments_of_unit, uint32_t segments) {
    index += segments;
    segment += segments;
    for (; segment >= segments_of_unit; ++unit)
      segment -= segments_of_unit;
    while (pick < share.num_picks() && unit >= share.num_units(pick))
      unit -= share.num_units(pick++);
  }
};

/// A warp's way through both.
class OneWalk {
 public:
  OneWalk() = default;
  TETRAD_DEVICE OneWalk(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                        const PicksOfOne& picks)
      : share(work), args_(&args), work_(&work), picks_(&picks) {
    up.tile = block_x();
    up.go_on(work, warp());
  }
  /// When the picks are known, before all else.
  TETRAD_DEVICE void begin() {
    share.take(picks_->count);
    down.go_on(share, work_->down_segments, warp());
  }
  TETRAD_DEVICE bool is_up() const { return up.pick < share.num_picks(); }
  TETRAD_DEVICE bool is_done() const { return !is_up() && down.pick >= share.num_picks(); }
  TETRAD_DEVICE void next() {
    if (is_up()) return up.go_on(*work_, kStreamWarps);
    down.go_on(share, work_->down_segments, kStreamWarps);
  }
  /// Where the segment lies; null at the end.
  TETRAD_DEVICE const char* segment() const {
    if (is_up()) {
      const char* tiles = up.is_w1(*work_) ? args_->w1.tiles : args_->w3.tiles;
      return tiles + picks_->expert[up.pick] * args_->up_stride +
             static_cast<uint64_t>(up.tile * work_->up_segments + up.column(*work_)) *
                 kSegmentBytes;
    }
    if (is_done()) return nullptr;
    return args_->w2.tiles + picks_->expert[down.pick] * args_->down_stride +
           static_cast<uint64_t>(share.tile_of(down.unit) * work_->down_segments + down.segment) *
               kSegmentBytes;
  }

  DownShare share;
  UpWalk up;
  DownWalk down;

 private:
  const ExpertsOfOneArgs* args_ = nullptr;
  const ExpertsOfOneWork* work_ = nullptr;
  const PicksOfOne* picks_ = nullptr;
};

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
