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
                                uint32_t pick, uint32_t tile, const float* parts) {
  const float* mine = parts + lane() % kTileRows;
  const float gate = sum_of_parts(mine, work.up_segments, kTileRows) * args.w1.scale;
  const float up = sum_of_parts(mine + work.up_segments * kTileRows, work.up_segments, kTileRows) *
                   args.w3.scale;
  const uint32_t value = swiglu_to_half(gate, up);
  const uint32_t next = shuffle_xor(value, 1);
  if (lane() >= kTileRows || lane() % 2 != 0) return;
  const uint32_t row = tile * kTileRows + lane();
  store_fresh(args.hidden + (pick * args.w1.rows + one_token_offset(row)) / 2, value | next << 16);
}

/// What a pick gave a row of a unit; `parts`: the row's.
TETRAD_DEVICE float product_of_unit(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                                    const float* parts) {
  return sum_of_parts(parts, work.down_segments, kTileRows) * (args.w2.scale / kHiddenScale);
}

/// By the warp that brings the last segment of a unit that another block adds up.
TETRAD_DEVICE void tell_products(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                                 uint32_t pick, uint32_t tile, const float* parts) {
  if (lane() >= kTileRows) return;
  tell_float(args.products + pick * args.w2.rows + tile * kTileRows + lane(),
             product_of_unit(args, work, parts + lane()));
}

/// What one pick gives a row that this block adds up: a lane for each pick, so that all products
/// are there at once. What another block tells, and the residual, are on their way from the
/// beginning.
class PickOfSum {
 public:
  /// Of the block's `row`th one.
  TETRAD_DEVICE PickOfSum(const ExpertsOfOneArgs& args, const DownShare& share, uint32_t row)
      : unit_(row / kTileRows), row_in_tile_(row % kTileRows) {
    is_row_ = unit_ < share.num_sums();
    is_there_ = is_row_ && pick() < share.num_picks();
    is_told_ = is_there_ && share.is_half(unit_) && pick() < share.num_told();
    row_ = share.tile_of(unit_) * kTileRows + row_in_tile_;
    told_from_ = reinterpret_cast<uint32_t*>(args.products + pick() * args.w2.rows + row_);
    told_[0] = look();
    if (is_first() && args.add != 0) before_ = args.residual[row_];
  }
  /// The picks' products in their order to the residual. By a whole warp; `parts`: of w2.
  TETRAD_DEVICE void add(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                         const DownShare& share, const float* weights, const float* parts) {
    const float weight = is_there_ ? weights[pick()] : 0;
    float product = 0;
    if (is_there_ && !is_told_) {
      const uint32_t unit = share.index_of(pick(), unit_);
      product =
          product_of_unit(args, work, parts + unit * work.down_segments * kTileRows + row_in_tile_);
    }
    wait_for_told(told_, [&](uint32_t) TETRAD_INLINE { return look(); });
    if (is_told_) {
      product = __builtin_bit_cast(float, told_[0]);
      *told_from_ = kNotYet;
    }
    float sum = 0;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kMaxPicks; ++i) {
      const uint32_t from = lane() / kMaxPicks * kMaxPicks + i;
      const float with = fused_multiply_add(shuffle(weight, from), shuffle(product, from), sum);
      sum = i < share.num_picks() ? with : sum;
    }
    if (is_first()) args.residual[row_] = args.add == 0 ? sum : before_ + sum;
  }

 private:
  TETRAD_DEVICE static uint32_t pick() { return lane() % kMaxPicks; }
  TETRAD_DEVICE bool is_first() const { return is_row_ && pick() == 0; }
  TETRAD_DEVICE uint32_t look() const { return is_told_ ? load_fresh(told_from_) : 0; }

  uint32_t unit_;
  uint32_t row_in_tile_;
  uint32_t row_ = 0;
  bool is_row_;
  bool is_there_;  // the pick, too
  bool is_told_;
  uint32_t* told_from_;
  uint32_t told_[1] = {};
  float before_ = 0;
};

/// residual (+)= the picks of the tiles of rows that this block adds up. By all threads; `parts`:
/// of w2.
TETRAD_DEVICE void add_picks_of_one(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                                    const DownShare& share, const float* weights,
                                    const float* parts) {
  constexpr uint32_t kRowsAtOnce = kStreamThreads / kMaxPicks;
  const uint32_t num_rows = share.num_sums() * kTileRows;
  uint32_t row = thread_index() / kMaxPicks;
  PickOfSum mine(args, share, row);
  sync_block();
  TETRAD_NO_UNROLL
  for (; row < num_rows; row += kRowsAtOnce, mine = PickOfSum(args, share, row))
    mine.add(args, work, share, weights, parts);
}

/// The block's steps, by `num_threads` of its threads, of which this one is the `thread`th.
TETRAD_DEVICE void plan_steps(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                              const DownShare& share, ExpertStep* steps, uint32_t num_steps,
                              uint32_t thread, uint32_t num_threads) {
  const ExpertPlan plan(args, work, share);
  TETRAD_NO_UNROLL
  for (uint32_t i = thread; i < num_steps; i += num_threads)
    steps[i] = plan.step(i);
}

/// By a warp: what counts the segments of strips, and of the units that another block adds up.
TETRAD_DEVICE void init_finished(const ExpertsOfOneArgs& args, const ExpertsOfOneWork& work,
                                 uint64_t* finished) {
  const uint32_t top_k = args.choice.num_experts_per_tok;
  const uint32_t num_strips = work.strips_of_block(top_k);
  TETRAD_NO_UNROLL
  for (uint32_t i = lane(); i < num_strips + top_k / 2; i += 32)
    init_arrivals_of(finished + i, kTokenLanes * (i < num_strips ? work.segments_of_strip()
                                                                 : work.down_segments));
}

TETRAD_LONE_KERNEL(experts_of_one, ExpertsOfOneArgs, 384) {
  const uint32_t top_k = args.choice.num_experts_per_tok;
  const ExpertsOfOneWork work(args.w1, args.w2, grid_x());
  const ExpertsOfOneLayout at(work, top_k);
  char* memory = shared_memory();
  auto* table = reinterpret_cast<uint32_t*>(memory);
  auto* x = reinterpret_cast<uint16_t*>(memory + at.x);
  auto* hidden = reinterpret_cast<uint16_t*>(memory + at.hidden) + warp() * kSegmentColumns;
  auto* parts = reinterpret_cast<float*>(memory + at.parts);
  auto* steps = reinterpret_cast<ExpertStep*>(memory + at.steps);
  auto& choice = *reinterpret_cast<ChoiceOfOneMemory*>(memory + at.choice);
  auto* finished = reinterpret_cast<uint64_t*>(memory + at.finished);
  WeightStream<OneWalk> stream(memory + at.chunks, memory + at.arrivals);
  // By warps that have no experts to choose from.
  static_assert(kMaxExperts / 32 + 1 < kStreamWarps);
  if (warp() == kStreamWarps - 1) stream.init(memory + at.arrivals);
  if (warp() == kStreamWarps - 2) init_finished(args, work, finished);
  OneTokenChoice chooser(args.choice);
  DownShare share(work, top_k);
  wait_for_launches_before();
  let_next_launch_begin();

  // The first piece of x is on its way while experts are chosen, by one warp. The others have what
  // else the block needs before its weights.
  const uint32_t num_pieces = args.w1.cols / 8;
  const auto* pieces = reinterpret_cast<const Words4*>(args.x);
  const Words4 first = pieces[thread_index() < num_pieces ? thread_index() : 0];
  constexpr uint32_t kPlanThreads = 96;
  constexpr uint32_t kTableThreads = 256;
  static_assert(32 + kPlanThreads + kTableThreads == kStreamThreads);
  chooser.choose(args.choice, choice, [&] {
    if (thread_index() < 32 + kPlanThreads)
      plan_steps(args, work, share, steps, at.num_steps, thread_index() - 32, kPlanThreads);
    else
      fill_level_table<kWideRowWords>(table, args.codebook, kTableThreads,
                                      thread_index() - 32 - kPlanThreads);
  });
  const uint32_t num_picks = choice.picks.count;
  if (num_picks != top_k) {  // others are elsewhere
    share = DownShare(work, num_picks);
    plan_steps(args, work, share, steps, at.num_steps, thread_index(), kStreamThreads);
    sync_block();
  }
  OneWalk walk(args, steps, choice.picks);
  stream.start(walk, [&] {
    auto* row = reinterpret_cast<uint32_t*>(x);
    if (thread_index() < num_pieces) store_piece(row, thread_index(), first);
    TETRAD_NO_UNROLL
    for (uint32_t i = kStreamThreads + thread_index(); i < num_pieces; i += kStreamThreads)
      store_piece(row, i, pieces[i]);
  });
  if (warp() == 0) chooser.weigh(args.choice, choice);
  HiddenAhead ahead(args);
  const auto look_ahead = [&] {
    if (!walk.is_done() && walk.step().is_up == 0) ahead.look(walk.step().pick, walk.step().column);
  };
  look_ahead();
  uint32_t b[4] = {};
  while (!walk.is_done()) {
    const ExpertStep step = walk.step();
    walk.next();
    const uint16_t* in = x + step.column * kSegmentColumns;
    if (step.is_up == 0) {
      ahead.store(hidden);
      in = hidden;
    }
    float sums[Fragment::kD] = {};
    multiply_segment(stream, in + lane() % 4 * 8, lane() < 4, table, b, sums, look_ahead);
    store_token(parts + step.place * kTileRows, sums);
    if (step.unit == ExpertStep::kNobody || !is_last_segment(finished + step.unit)) continue;
    const float* all = parts + step.first * kTileRows;
    if (step.is_up != 0)
      finish_strip(args, work, step.pick, step.tile, all);
    else
      tell_products(args, work, step.pick, step.tile, all);
  }
  add_picks_of_one(args, work, share, choice.picks.weight,
                   parts + ExpertPlan(args, work, share).num_up() * kTileRows);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
