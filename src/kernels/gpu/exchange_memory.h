#pragma once

// What ranks on GPUs of their own share to tell each other something in the middle of a step
// (rank_exchange.h, rank_exchange_few.h): where what stands, and how long one waits for another.

#include "gpu/fragment.h"

namespace tetrad::gpu {

inline constexpr uint32_t kMaxRanks = 8;
inline constexpr uint32_t kExchangeThreads = 256;
/// Blocks of a launch at most, and what one of them has of a rank's memory for one epoch.
inline constexpr uint32_t kExchangeBlocks = 128;
inline constexpr uint32_t kExchangeBlockBytes = 128 << 10;
/// Flags of a block: for each of two meetings a word for each rank. A line of the cache.
inline constexpr uint32_t kExchangeFlags = 32;
inline constexpr uint64_t kExchangeDataBytes = uint64_t{2} * kExchangeBlocks * kExchangeBlockBytes;
inline constexpr uint64_t kExchangeFlagBytes = uint64_t{kExchangeBlocks} * kExchangeFlags * 4;
/// Messages of few values (rank_exchange_few.h): 16 bytes a thread from each rank.
inline constexpr uint32_t kFewRankBytes = kExchangeThreads * 16;
inline constexpr uint64_t kFewAt = kExchangeDataBytes + kExchangeFlagBytes;
inline constexpr uint64_t kFewBytes = uint64_t{2} * kExchangeBlocks * kMaxRanks * kFewRankBytes;
/// Of what a rank shares: data, then flags and few values, which are 0 in the beginning.
inline constexpr uint64_t kExchangeBytes = kFewAt + kFewBytes;

/// Of one rank, in its device's own memory; 0 in the beginning.
struct ExchangeState {
  uint32_t epoch[kExchangeBlocks];  // of each block's last launch
  uint32_t is_broken;
};

/// In host memory that the device writes and reads; 0 in the beginning.
struct ExchangeFailure {
  uint32_t is_missing[kMaxRanks];  // whether that rank was waited for in vain
  uint32_t is_given_up;            // by the host: nobody is waited for any more
};

struct RankExchange {
  /// What each rank shares, by its address on this device. [kExchangeBytes]
  char* memory[kMaxRanks] = {};
  uint32_t rank = 0;
  uint32_t num_ranks = 1;
  /// Whether a rank writes its part once, into what it shares, for all to read: of host memory.
  /// Else it writes it into what each of the others shares, so that all read their own memory.
  uint32_t is_read_remotely = 0;
  ExchangeState* state = nullptr;
  ExchangeFailure* failure = nullptr;
  uint64_t deadline_ns = 0;
};

namespace TETRAD_MACHINE {

/// A rank's memory, chosen without an index, which would put the table into local memory.
TETRAD_DEVICE char* memory_of_rank(const RankExchange& ranks, uint32_t rank) {
  char* memory = ranks.memory[0];
  TETRAD_UNROLL
  for (uint32_t r = 1; r < kMaxRanks; ++r)
    memory = r == rank ? ranks.memory[r] : memory;
  return memory;
}

/// How long a thread goes on looking for what another rank writes.
class Patience {
 public:
  /// After a look in vain: whether to look again. At its end the thread has waited for the
  /// deadline, another has, or the host has given up; of these two it hears now and then.
  TETRAD_DEVICE bool lasts(const RankExchange& ranks) {
    constexpr uint32_t kQuickLooks = 64;
    // The host's memory is far away, and whoever reads it sees what he waits for so much later: not
    // before a wait is longer than any that goes well.
    constexpr uint64_t kHostLookNs = 200'000;
    if (looks_ < kQuickLooks) {
      ++looks_;
      return true;
    }
    const uint64_t now = nanoseconds();
    const bool is_first = begin_ == 0;
    if (is_first) begin_ = now;
    if (is_first || now >= next_host_look_) {
      if (load_fresh(&ranks.state->is_broken) != 0) return false;
      if (!is_first && load_acquire_system(&ranks.failure->is_given_up) != 0) return false;
      next_host_look_ = now + kHostLookNs;
    }
    if (now - begin_ >= ranks.deadline_ns) return false;
    pause_thread();
    return true;
  }

 private:
  uint32_t looks_ = 0;
  uint64_t begin_ = 0;  // of what is no quick look any more
  uint64_t next_host_look_ = 0;
};

/// For the host, and so that no later launch waits.
TETRAD_DEVICE void note_missing(const RankExchange& ranks, uint32_t rank) {
  ranks.failure->is_missing[rank] = 1;
  ranks.state->is_broken = 1;
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
