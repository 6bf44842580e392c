#pragma once

// The experts of one token as one launch: w1 and w3 with SwiGLU, then w2 and the sum over the
// picks. A block a multiprocessor, all at work together, which tell each other hidden values and
// products (told_words.h). Each warp has a list of segments, first of w1 and w3, then of w2, which
// come to shared memory in that order while it computes (weight_stream.h): w2's first are on their
// way before w1's and w3's products are all there. The picks are gone through one after the other,
// so that what w2 needs of the first ones is there long before it is looked for.
//
// Bits are those of decode_experts.h.

#include "kernels/gpu/choose_for_one.h"
#include "kernels/gpu/swiglu.h"
#include "kernels/gpu/told_words.h"
#include "kernels/gpu/weight_stream.h"

namespace tetrad::gpu {

static_assert(kStreamThreads >= kChoiceThreads);

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
  uint32_t finished = 0;    // words [strips]: segments of it that are done; then [picks], of a tile
                            // that another block adds up
  uint32_t end = 0;

  TETRAD_DEVICE constexpr ExpertsOfOneLayout(const ExpertsOfOneWork& work, uint32_t num_picks) {
    up_parts = x + work.up_segments * kSegmentColumns * 2;
    const uint32_t strips = work.strips_of_block(num_picks);
    down_parts = up_parts + strips * work.segments_of_strip() * kTileRows * 4;
    finished = down_parts + work.down_segments_of_block(num_picks) * kTileRows * 4;
    end = finished + (strips + num_picks / 2) * 4;
  }
};

namespace TETRAD_MACHINE {

/// A warp's way through its block's segments of w1 and w3.
struct UpWalk {
  uint32_t strip = 0;  // of the block
  uint32_t part = 0;   // segment of w1, then of w3
  uint32_t tile = 0;   // of rows
  uint32_t pick = 0;

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
  TETRAD_DEVICE void take(uint32_t num_picks) {
    num_picks_ = num_picks;
    num_first_ = num_picks / 2;
  }

  TETRAD_DEVICE uint32_t num_picks() const { return num_picks_; }
  /// Of the half tile, the first num_told() picks are the block's that tells, the others the
  /// block's that adds up.
  TETRAD_DEVICE uint32_t num_told() const { return num_first_; }
  TETRAD_DEVICE bool is_half(uint32_t unit) const { return unit == num_whole_; }
  TETRAD_DEVICE bool is_told(uint32_t unit) const { return is_half(unit) && !adds_half_; }
  /// Units are the block's tiles of a pick, the whole ones first.
  TETRAD_DEVICE uint32_t num_units(uint32_t pick) const {
    return num_whole_ + (has_half_ != 0 && (pick >= num_first_) == adds_half_);
  }
  /// Of all picks before this one.
  TETRAD_DEVICE uint32_t units_before(uint32_t pick) const {
    const uint32_t others = adds_half_ ? num_first_ : 0;
    const uint32_t end = adds_half_ ? num_picks_ : num_first_;
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
  uint32_t num_first_ = 0;
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
      const bool is_w1 = up.part < work_->up_segments;
      const char* tiles = is_w1 ? args_->w1.tiles : args_->w3.tiles;
      const uint32_t column = is_w1 ? up.part : up.part - work_->up_segments;
      return tiles + picks_->expert[up.pick] * args_->up_stride +
             static_cast<uint64_t>(up.tile * work_->up_segments + column) * kSegmentBytes;
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

/// The sum over a row's segments, in their order: some are loaded at a time, in little code.
TETRAD_DEVICE float sum_of_parts(const float* parts, uint32_t num_segments) {
  constexpr uint32_t kAtOnce = 4;
  float sum = -0.0f;  // which changes no first one
  TETRAD_NO_UNROLL
  for (uint32_t first = 0; first < num_segments; first += kAtOnce) {
    float some[kAtOnce];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kAtOnce; ++i)
      some[i] = parts[smaller_of(first + i, num_segments - 1) * kTileRows];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kAtOnce; ++i)
      sum = first + i < num_segments ? sum + some[i] : sum;
  }
  return sum;
}

/// The token's column of a segment's sums.
TETRAD_DEVICE void store_token(float* parts, const float (&sums)[Fragment::kD]) {
  TETRAD_UNROLL
  for (uint32_t i = 0; i < Fragment::kD; ++i) {
    if (Fragment::d_token(lane(), i) == 0) parts[Fragment::d_row(lane(), i)] = sums[i];
  }
}

/// The hidden values of a warp's next segment of w2: on their way while it computes another.
class HiddenAhead {
 public:
  TETRAD_DEVICE explicit HiddenAhead(const ExpertsOfOneArgs& args) : args_(args) {}
  TETRAD_DEVICE void look(uint32_t pick, uint32_t segment) {
    from_ = args_.hidden + (pick * args_.w1.rows + segment * kSegmentColumns) / 2 + lane() * 4;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kPieces; ++i)
      look_at(i, pieces_[i]);
  }
  /// When they are there, to shared memory.
  TETRAD_DEVICE void store(uint16_t* to) {
    wait_for_pieces(pieces_, [&](uint32_t i, Words4& piece) TETRAD_INLINE { look_at(i, piece); });
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kPieces; ++i)
      reinterpret_cast<Words4*>(to)[i * 32 + lane()] = pieces_[i];
    sync_warp();
  }

 private:
  static constexpr uint32_t kPieces = kSegmentColumns / 256;
  static_assert(kSegmentColumns % 256 == 0);
  TETRAD_DEVICE void look_at(uint32_t i, Words4& piece) const {
    load_fresh_16(piece.word, from_ + i * 128);
  }

  const ExpertsOfOneArgs& args_;
  const uint32_t* from_ = nullptr;
  Words4 pieces_[kPieces];
};

/// Whether a warp was the last one to bring a segment of what has `num_segments`; `finished` counts
/// them.
TETRAD_DEVICE bool is_last_segment(uint32_t* finished, uint32_t num_segments) {
  sync_warp();
  uint32_t before = 0;
  if (lane() == 0) before = increment_shared(finished);
  before = shuffle(before, 0);
  sync_warp();
  return before + 1 == num_segments;
}

/// By the warp that brings a strip's last segment: SwiGLU of its rows, for all blocks.
TETRAD_DEVICE void finish_strip(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                                const UpWalk& at, const float* parts) {
  const float* mine = parts + lane() % kTileRows;
  const float gate = sum_of_parts(mine, work.up_segments) * args.w1.scale;
  const float up =
      sum_of_parts(mine + work.up_segments * kTileRows, work.up_segments) * args.w3.scale;
  const uint32_t value = swiglu_to_half(gate, up);
  const uint32_t next = shuffle_xor(value, 1);
  if (lane() >= kTileRows || lane() % 2 != 0) return;
  const uint32_t row = at.tile * kTileRows + lane();
  store_fresh(args.hidden + (at.pick * args.w1.rows + one_token_offset(row)) / 2,
              value | next << 16);
}

/// What a pick gave a row of a unit; `parts`: the unit's.
TETRAD_DEVICE float product_of_unit(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                                    const float* parts, uint32_t row) {
  return sum_of_parts(parts + row, work.down_segments) * (args.w2.scale / kHiddenScale);
}

/// By the warp that brings the last segment of a unit that another block adds up.
TETRAD_DEVICE void tell_products(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                                 uint32_t pick, uint32_t tile, const float* parts) {
  if (lane() >= kTileRows) return;
  tell_float(args.products + pick * args.w2.rows + tile * kTileRows + lane(),
             product_of_unit(args, work, parts, lane()));
}

/// residual (+)= the picks of the tiles of rows that this block adds up: of its own products and of
/// those that the other block of the pair told. By all threads.
TETRAD_DEVICE void add_picks_of_one(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                                    const DownShare& share, const float* weights, float* parts) {
  const uint32_t floats_of_unit = work.down_segments * kTileRows;
  sync_block();
  TETRAD_NO_UNROLL
  for (uint32_t i = thread_index(); i < share.units_before(share.num_picks()) * kTileRows;
       i += kStreamThreads) {
    float* unit = parts + i / kTileRows * floats_of_unit;
    unit[i % kTileRows] = product_of_unit(args, work, unit, i % kTileRows);
  }
  sync_block();
  TETRAD_NO_UNROLL
  for (uint32_t i = thread_index(); i < share.num_sums() * kTileRows; i += kStreamThreads) {
    const uint32_t unit = i / kTileRows;
    const uint32_t row = share.tile_of(unit) * kTileRows + i % kTileRows;
    const float before = args.add == 0 ? 0 : args.residual[row];
    const uint32_t num_told = share.is_half(unit) ? share.num_told() : 0;
    const auto place_of = [&](uint32_t pick) TETRAD_INLINE {
      return reinterpret_cast<uint32_t*>(args.products + pick * args.w2.rows + row);
    };
    const auto look = [&](uint32_t pick) TETRAD_INLINE {
      return pick < num_told ? load_fresh(place_of(pick)) : 0;
    };
    uint32_t told[kMaxPicks / 2];
    TETRAD_UNROLL
    for (uint32_t pick = 0; pick < kMaxPicks / 2; ++pick)
      told[pick] = look(pick);
    wait_for_words(told, look);
    float product[kMaxPicks];
    TETRAD_UNROLL
    for (uint32_t pick = 0; pick < kMaxPicks; ++pick) {
      const bool is_own = pick >= num_told && pick < share.num_picks();
      const uint32_t at = is_own ? share.units_before(pick) + unit : 0;
      product[pick] = parts[at * floats_of_unit + i % kTileRows];
      if (pick >= kMaxPicks / 2 || pick >= num_told) continue;
      product[pick] = __builtin_bit_cast(float, told[pick]);
      *place_of(pick) = kNotYet;
    }
    float sum = 0;
    TETRAD_UNROLL
    for (uint32_t pick = 0; pick < kMaxPicks; ++pick) {
      if (pick < share.num_picks()) sum = fused_multiply_add(weights[pick], product[pick], sum);
    }
    args.residual[row] = args.add == 0 ? sum : before + sum;
  }
}

TETRAD_KERNEL(experts_of_one, ExpertsOfOneArgs, 384) {
  const ExpertsOfOneWork work(args.w1, args.w2, grid_x());
  const ExpertsOfOneLayout at(work, args.choice.num_experts_per_tok);
  char* memory = shared_memory();
  auto* table = reinterpret_cast<uint32_t*>(memory);
  auto* x = reinterpret_cast<uint16_t*>(memory + at.x);
  auto* hidden = reinterpret_cast<uint16_t*>(memory + at.hidden) + warp() * kSegmentColumns;
  auto* up_parts = reinterpret_cast<float*>(memory + at.up_parts);
  auto* down_parts = reinterpret_cast<float*>(memory + at.down_parts);
  auto& choice = *reinterpret_cast<ChoiceOfOneMemory*>(memory + at.choice);
  auto* finished = reinterpret_cast<uint32_t*>(memory + at.finished);
  WeightStream<OneWalk> stream(memory + at.chunks, memory + at.arrivals);
  fill_level_table<kWideRowWords>(table, args.codebook, kStreamThreads);
  const uint32_t num_strips = work.strips_of_block(args.choice.num_experts_per_tok);
  TETRAD_NO_UNROLL
  for (uint32_t i = thread_index(); i < num_strips + args.choice.num_experts_per_tok / 2;
       i += kStreamThreads)
    finished[i] = 0;
  OneTokenChoice chooser(args.choice);
  OneWalk walk(args, work, choice.picks);
  wait_for_launches_before();
  let_next_launch_begin();

  // The first piece of x is on its way while experts are chosen.
  const uint32_t num_pieces = args.w1.cols / 8;
  const auto* pieces = reinterpret_cast<const Words4*>(args.x);
  const Words4 first = pieces[thread_index() < num_pieces ? thread_index() : 0];
  chooser.choose(args.choice, choice);
  walk.begin();
  auto* row = reinterpret_cast<uint32_t*>(x);
  if (thread_index() < num_pieces) store_piece(row, thread_index(), first);
  TETRAD_NO_UNROLL
  for (uint32_t i = kStreamThreads + thread_index(); i < num_pieces; i += kStreamThreads)
    store_piece(row, i, pieces[i]);

  stream.start(walk);
  if (warp() == 0) chooser.weigh(args.choice, choice);
  HiddenAhead ahead(args);
  const auto look_ahead = [&] {
    if (!walk.is_up() && !walk.is_done()) ahead.look(walk.down.pick, walk.down.segment);
  };
  look_ahead();
  uint32_t b[4] = {};
  while (!walk.is_done()) {
    const bool is_up = walk.is_up();
    const UpWalk up = walk.up;
    const DownWalk down = walk.down;
    const uint16_t* in = hidden;
    float* parts = down_parts + down.index * kTileRows;
    if (is_up) {
      const uint32_t column = up.part < work.up_segments ? up.part : up.part - work.up_segments;
      in = x + column * kSegmentColumns;
      parts = up_parts + (up.strip * work.segments_of_strip() + up.part) * kTileRows;
    } else {
      ahead.store(hidden);
    }
    walk.next();
    look_ahead();
    float sums[Fragment::kD] = {};
    multiply_segment(stream, in + lane() % 4 * 8, lane() < 4, table, b, sums);
    store_token(parts, sums);
    if (is_up) {
      if (is_last_segment(finished + up.strip, work.segments_of_strip()))
        finish_strip(args, work, up, up_parts + up.strip * work.segments_of_strip() * kTileRows);
    } else if (walk.share.is_told(down.unit)) {
      if (is_last_segment(finished + num_strips + down.pick, work.down_segments))
        tell_products(args, work, down.pick, walk.share.tile_of(down.unit),
                      down_parts + (down.index - down.segment) * kTileRows);
    }
  }
  add_picks_of_one(args, work, walk.share, choice.picks.weight, down_parts);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
