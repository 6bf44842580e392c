#pragma once

// The experts of one token as one launch: w1 and w3 with SwiGLU, then w2 and the sum over the
// picks. A block a multiprocessor, all at work together, which tell each other hidden values and
// products (told_words.h). Each warp has a list of segments, first of w1 and w3, then of w2, which
// come to shared memory in that order while it computes (weight_stream.h): w2's first are on their
// way before w1's and w3's products are all there. The picks are gone through one after the other,
// so that what w2 needs of the first ones is there long before it is looked for.
//
// Bits are those of decode_experts.h.

#include "kernels/gpu/experts_of_one_walk.h"
#include "kernels/gpu/sum_of_parts.h"
#include "kernels/gpu/swiglu.h"
#include "kernels/gpu/told_words.h"

namespace tetrad::gpu {

static_assert(kStreamThreads >= kChoiceThreads);

namespace TETRAD_MACHINE {

/// Lanes that have sums of the token.
inline constexpr uint32_t kTokenLanes = kTileRows / Fragment::kRowsOfLane;

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
      pieces_[i] = look_at(i);
  }
  /// When they are there, to shared memory.
  TETRAD_DEVICE void store(uint16_t* to) {
    wait_for_told(pieces_, [&](uint32_t i) TETRAD_INLINE { return look_at(i); });
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kPieces; ++i)
      reinterpret_cast<Words4*>(to)[i * 32 + lane()] = pieces_[i];
    sync_warp();
  }

 private:
  static constexpr uint32_t kPieces = kSegmentColumns / 256;
  static_assert(kSegmentColumns % 256 == 0);
  TETRAD_DEVICE Words4 look_at(uint32_t i) const {
    Words4 piece;
    load_fresh_16(piece.word, from_ + i * 128);
    return piece;
  }

  const ExpertsOfOneArgs& args_;
  const uint32_t* from_ = nullptr;
  Words4 pieces_[kPieces] = {};
};

/// Whether the warp is the last one to bring a segment by store_token(); it sees what all brought.
/// Every lane that stored arrives, the first one behind the others: of several at once none might
/// find itself the last.
TETRAD_DEVICE bool is_last_segment(uint64_t* finished) {
  const bool has_stored = Fragment::d_token(lane(), 0) == 0;
  if (has_stored && lane() != 0) is_last_arrival(finished);
  sync_warp();
  uint32_t is_last = 0;
  if (lane() == 0) is_last = is_last_arrival(finished);
  is_last = shuffle(is_last, 0);
  if (is_last != 0) wait_for_arrival(finished, 0);
  return is_last != 0;
}

/// By the warp that brings a strip's last segment: SwiGLU of its rows, for all blocks.
TETRAD_DEVICE void finish_strip(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                                const UpWalk& at, const float* parts) {
  const float* mine = parts + lane() % kTileRows;
  const float gate = sum_of_parts(mine, work.up_segments, kTileRows) * args.w1.scale;
  const float up = sum_of_parts(mine + work.up_segments * kTileRows, work.up_segments, kTileRows) *
                   args.w3.scale;
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
  return sum_of_parts(parts + row, work.down_segments, kTileRows) * (args.w2.scale / kHiddenScale);
}

/// By the warp that brings the last segment of a unit that another block adds up.
TETRAD_DEVICE void tell_products(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                                 uint32_t pick, uint32_t tile, const float* parts) {
  if (lane() >= kTileRows) return;
  tell_float(args.products + pick * args.w2.rows + tile * kTileRows + lane(),
             product_of_unit(args, work, parts, lane()));
}

/// residual (+)= the picks of the tiles of rows that this block adds up: of its own products and of
/// those that the other block of the pair told. By all threads; each unit's first part becomes its
/// product.
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
    wait_for_told(told, look);
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
  auto* finished = reinterpret_cast<uint64_t*>(memory + at.finished);
  WeightStream<OneWalk> stream(memory + at.chunks, memory + at.arrivals);
  fill_level_table<kWideRowWords>(table, args.codebook, kStreamThreads);
  const uint32_t num_strips = work.strips_of_block(args.choice.num_experts_per_tok);
  TETRAD_NO_UNROLL
  for (uint32_t i = thread_index(); i < num_strips + args.choice.num_experts_per_tok / 2;
       i += kStreamThreads)
    init_arrivals_of(finished + i, kTokenLanes * (i < num_strips ? work.segments_of_strip()
                                                                 : work.down_segments));
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
      in = x + up.column(work) * kSegmentColumns;
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
      if (is_last_segment(finished + up.strip))
        finish_strip(args, work, up, up_parts + up.strip * work.segments_of_strip() * kTileRows);
    } else if (walk.share.is_told(down.unit)) {
      if (is_last_segment(finished + num_strips + down.pick))
        tell_products(args, work, down.pick, walk.share.tile_of(down.unit),
                      down_parts + (down.index - down.segment) * kTileRows);
    }
  }
  add_picks_of_one(args, work, walk.share, choice.picks.weight, down_parts);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
