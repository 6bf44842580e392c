#pragma once

// Sums of few values over the ranks, such as one token's: how long they take is how long the way
// is, and rank_exchange.h goes it twice, once for the values and once for the flag that follows
// them. Here each value has the epoch beside it in the same 8 bytes, which nobody sees half of: who
// finds the epoch has the value (known as the low-latency protocol of NCCL, "LL"). Twice the bytes,
// no fence, and no block that meets another.
//
// Places alternate as in rank_exchange.h, with the same epochs, and for the same reason. Nothing
// else is ever written there, so that what stands in a place has an older epoch until the message
// is there. Epochs come back after 2^32 messages, without 0, which stands there at first.

#include "kernels/gpu/qk_norm_rope.h"
#include "kernels/gpu/rank_exchange.h"

namespace tetrad::gpu {

/// Values of a launch at most.
inline constexpr uint32_t kFewBlockValues = 2 * kExchangeThreads;
inline constexpr uint32_t kMaxFewValues = kExchangeBlocks * kFewBlockValues;
/// A warp each.
inline constexpr uint32_t kSquaresBlockTokens = kExchangeThreads / kWarpSize;

/// After the last one comes 2: neither 0, nor one of the same place.
constexpr uint32_t next_few_epoch(uint32_t epoch) {
  return epoch + 1 == 0 ? 2 : epoch + 1;
}
static_assert(next_few_epoch(~0u) % 2 != ~0u % 2 && next_few_epoch(0) == 1);

/// squares = their sums over the ranks of what qk_squares makes of the same arguments.
struct AllReduceSquaresArgs {
  RankExchange exchange;
  QkSquaresArgs squares;
  uint32_t num_tokens = 0;  // at most kExchangeBlocks * kSquaresBlockTokens
};

namespace TETRAD_MACHINE {

struct TwoFloats {
  float value[2];
};

/// A block's side of a launch. The threads of a block exchange two values each, or none.
class FewExchange {
 public:
  /// By all threads. What a thread brings should be on its way already.
  TETRAD_DEVICE explicit FewExchange(const RankExchange& exchange)
      : ranks_(exchange),
        epoch_(next_few_epoch(load_fresh(exchange.state->epoch + block_x()))),
        is_whole_(load_fresh(&exchange.state->is_broken) == 0) {}

  TETRAD_DEVICE void tell(const TwoFloats& mine) const {
    if (!is_whole_) return;
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kMaxRanks; ++r) {
      const bool is_reader = r < ranks_.num_ranks && r != ranks_.rank;
      if (ranks_.is_read_remotely != 0 ? r == ranks_.rank : is_reader)
        store_system_8_twice(place(ranks_.memory[r], ranks_.rank), marked(mine.value[0]),
                             marked(mine.value[1]));
    }
  }
  /// By all threads, between tell() and sum(): everybody has told before anybody waits.
  TETRAD_DEVICE void turn() const {
    sync_block();
    if (thread_index() == 0) ranks_.state->epoch[block_x()] = epoch_;
  }
  /// mine = the sum over the ranks, in their order, of what the threads of this number told. False
  /// where a rank does not come in time.
  TETRAD_DEVICE bool sum(TwoFloats& mine) const {
    if (!is_whole_) return false;
    const char* from[kMaxRanks];
    uint64_t told[kMaxRanks][2] = {};
    char* const own = memory_of_rank(ranks_, ranks_.rank);
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kMaxRanks; ++r) {
      char* const memory = ranks_.memory[r];
      from[r] = place(ranks_.is_read_remotely != 0 ? memory : own, r);
    }
    Patience patience;
    bool is_here;
    do {
      // All loads are on their way before the first is waited for.
      TETRAD_UNROLL
      for (uint32_t r = 0; r < kMaxRanks; ++r) {
        if (is_other(r)) load_system_8_twice(told[r], from[r]);
      }
      is_here = true;
      TETRAD_UNROLL
      for (uint32_t r = 0; r < kMaxRanks; ++r) {
        if (is_other(r)) is_here = is_here && has_come(told[r]);
      }
    } while (!is_here && patience.lasts(ranks_));
    if (!is_here) {
      TETRAD_UNROLL
      for (uint32_t r = 0; r < kMaxRanks; ++r) {
        if (is_other(r) && !has_come(told[r])) note_missing(ranks_, r);
      }
      return false;
    }
    TwoFloats sum = {};
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kMaxRanks; ++r) {
      if (r >= ranks_.num_ranks) break;
      TETRAD_UNROLL
      for (uint32_t i = 0; i < 2; ++i) {
        const float part = r == ranks_.rank
                               ? mine.value[i]
                               : __builtin_bit_cast(float, static_cast<uint32_t>(told[r][i]));
        sum.value[i] = r == 0 ? part : sum.value[i] + part;
      }
    }
    mine = sum;
    return true;
  }

 private:
  TETRAD_DEVICE uint64_t marked(float value) const {
    return uint64_t{epoch_} << 32 | __builtin_bit_cast(uint32_t, value);
  }
  TETRAD_DEVICE bool has_come(const uint64_t (&told)[2]) const {
    return static_cast<uint32_t>(told[0] >> 32) == epoch_ &&
           static_cast<uint32_t>(told[1] >> 32) == epoch_;
  }
  TETRAD_DEVICE bool is_other(uint32_t r) const { return r < ranks_.num_ranks && r != ranks_.rank; }
  /// The thread's, of what rank r tells, in a rank's memory.
  TETRAD_DEVICE char* place(char* memory, uint32_t r) const {
    const uint64_t block = uint64_t{epoch_ % 2} * kExchangeBlocks + block_x();
    return memory + kFewAt + (block * kMaxRanks + r) * kFewRankBytes + thread_index() * 16;
  }

  const RankExchange& ranks_;
  uint32_t epoch_;
  bool is_whole_;  // whether there is anybody to talk to
};

TETRAD_KERNEL(all_reduce_few, AllReduceArgs, kExchangeThreads) {
  wait_for_launches_before();
  let_next_launch_begin();
  const uint32_t at = block_x() * kFewBlockValues + thread_index() * 2;
  float* values = args.values + at;
  TwoFloats mine = {};
  TETRAD_UNROLL
  for (uint32_t i = 0; i < 2; ++i) {
    if (at + i < args.count) mine.value[i] = values[i];
  }
  const FewExchange exchange(args.exchange);
  if (at < args.count) exchange.tell(mine);
  exchange.turn();
  if (at >= args.count || !exchange.sum(mine)) return;
  TETRAD_UNROLL
  for (uint32_t i = 0; i < 2; ++i) {
    if (at + i < args.count) values[i] = mine.value[i];
  }
}

TETRAD_KERNEL(all_reduce_qk_squares, AllReduceSquaresArgs, kExchangeThreads) {
  wait_for_launches_before();
  let_next_launch_begin();
  const uint32_t token = block_x() * kSquaresBlockTokens + warp();
  const bool is_there = token < args.num_tokens;
  TwoFloats mine = {};
  if (is_there) {
    const QkSquares squares(args.squares, token);
    mine = {{squares.sums[0], squares.sums[1]}};
  }
  const FewExchange exchange(args.exchange);
  const bool is_teller = is_there && lane() == 0;
  if (is_teller) exchange.tell(mine);
  exchange.turn();
  if (!is_teller || !exchange.sum(mine)) return;
  args.squares.squares[2 * token] = mine.value[0];
  args.squares.squares[2 * token + 1] = mine.value[1];
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
