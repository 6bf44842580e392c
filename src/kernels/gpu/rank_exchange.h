#pragma once

// Ranks that compute one model, each on a GPU of its own: what they tell each other in the middle
// of a step, by memory that all of them reach.
//
// A block of a launch meets the blocks of the same number of the other ranks' launches, and no
// other block: it writes its part of the message, raises a flag of its own at each of the others,
// waits for theirs, and reads their parts. So blocks may run in any order and in any number at a
// time. What is written alternates between two places, counted by an epoch that each block keeps in
// the device's memory: a rank that raises the flag of an epoch has read all of the one before the
// last, so one meeting a message is enough, and a launch may be part of a graph.
//
// A rank that does not come within a deadline is noted for the host, and no later launch waits.

#include "kernels/gpu/exchange_memory.h"

namespace tetrad::gpu {

/// values[i] = the sum over all ranks, added in the order of the ranks. `count` is the same on all
/// of them, at most kExchangeBlockBytes / num_ranks for each block of one shot, half of
/// kExchangeBlockBytes of two.
struct AllReduceArgs {
  RankExchange exchange;
  float* values = nullptr;
  uint32_t count = 0;
};

/// all[row][r * cols + i] = rank r's mine[row][i], as far as all_cols: the last ranks may have
/// fewer, or none. Groups of four values of a row, counted over all rows, are what blocks share:
/// `num_groups` from first_group on, at most kExchangeBlockBytes / 16 / num_ranks for each block.
struct AllGatherArgs {
  RankExchange exchange;
  const float* mine = nullptr;  // [rows, cols]
  float* all = nullptr;         // [rows, all_cols]
  uint32_t cols = 0;
  uint32_t all_cols = 0;
  uint64_t first_group = 0;
  uint32_t num_groups = 0;
};

namespace TETRAD_MACHINE {

struct FourFloats {
  float value[4];
};

/// Values 4 `group` to 4 `group` + 3 of `count`; 0 beyond.
TETRAD_DEVICE FourFloats load_group(const float* values, uint32_t group, uint32_t count) {
  const float* from = values + 4 * static_cast<uint64_t>(group);
  if (4 * group + 4 <= count && reinterpret_cast<uint64_t>(from) % 16 == 0)
    return __builtin_bit_cast(FourFloats, *reinterpret_cast<const Words4*>(from));
  FourFloats four = {};
  TETRAD_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    if (4 * group + i < count) four.value[i] = from[i];
  }
  return four;
}
TETRAD_DEVICE void store_group(float* values, uint32_t group, uint32_t count,
                               const FourFloats& four) {
  float* to = values + 4 * static_cast<uint64_t>(group);
  if (4 * group + 4 <= count && reinterpret_cast<uint64_t>(to) % 16 == 0) {
    *reinterpret_cast<Words4*>(to) = __builtin_bit_cast(Words4, four);
    return;
  }
  TETRAD_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    if (4 * group + i < count) to[i] = four.value[i];
  }
}

/// A block's side of a launch.
struct BlockExchange {
  const RankExchange& ranks;
  uint32_t* shared;  // two words: the epoch, and whether all have come so far
  uint32_t epoch;

  /// By all threads, as every function here.
  TETRAD_DEVICE explicit BlockExchange(const RankExchange& exchange)
      : ranks(exchange), shared(reinterpret_cast<uint32_t*>(shared_memory())), epoch(0) {
    if (thread_index() == 0) {
      uint32_t& kept = ranks.state->epoch[block_x()];
      shared[0] = ++kept;
      shared[1] = ranks.state->is_broken == 0 ? 1 : 0;
    }
    sync_block();
    epoch = shared[0];
  }
  /// Whether there is anybody to talk to. Before anything is written.
  TETRAD_DEVICE bool is_whole() const { return shared[1] != 0; }

  TETRAD_DEVICE char* memory_of(uint32_t rank) const { return memory_of_rank(ranks, rank); }
  /// This block's part of what a rank shares, for this epoch.
  TETRAD_DEVICE char* part_of(char* memory) const {
    return memory +
           (static_cast<uint64_t>(epoch % 2) * kExchangeBlocks + block_x()) * kExchangeBlockBytes;
  }
  TETRAD_DEVICE uint32_t* flags_of(char* memory, uint32_t meeting) const {
    return reinterpret_cast<uint32_t*>(memory + kExchangeDataBytes) + block_x() * kExchangeFlags +
           meeting * kMaxRanks;
  }

  /// Tells the others what this block wrote, and waits until they have told it what theirs did.
  /// False, in all threads, where one does not come in time.
  TETRAD_DEVICE bool meet(uint32_t meeting) {
    sync_block();
    if (thread_index() < kWarpSize) {
      const bool is_other = thread_index() < ranks.num_ranks && thread_index() != ranks.rank;
      if (is_other)
        store_release_system(flags_of(memory_of(thread_index()), meeting) + ranks.rank, epoch);
      // All flags are raised before any is waited for.
      sync_warp();
      if (is_other) {
        const uint32_t* flag = flags_of(memory_of(ranks.rank), meeting) + thread_index();
        if (!comes_in_time(flag)) {
          note_missing(ranks, thread_index());
          shared[1] = 0;
        }
      }
    }
    sync_block();
    return is_whole();
  }

 private:
  /// The flag is at this epoch, or at the next one already; the difference bears its overflow.
  TETRAD_DEVICE bool has_come(const uint32_t* flag) const {
    return static_cast<int32_t>(load_acquire_system(flag) - epoch) >= 0;
  }
  TETRAD_DEVICE bool comes_in_time(const uint32_t* flag) const {
    Patience patience;
    do {
      if (has_come(flag)) return true;
    } while (patience.lasts(ranks));
    return has_come(flag);
  }
};

/// A share of a launch's groups of four values: of a block, or of a rank among those of a block.
struct GroupRange {
  uint32_t begin;
  uint32_t end;

  TETRAD_DEVICE GroupRange share(uint32_t index, uint32_t num_shares) const {
    const uint32_t each = (end - begin + num_shares - 1) / num_shares;
    const uint32_t first = begin + index * each;
    return {first < end ? first : end, first + each < end ? first + each : end};
  }
};
TETRAD_DEVICE GroupRange groups_of_block(uint32_t num_groups) {
  return GroupRange{0, num_groups}.share(block_x(), grid_x());
}

/// A place in a block's part of shared memory, for `groups` groups.
TETRAD_DEVICE Words4* slot(char* part, uint32_t index, uint32_t groups) {
  return reinterpret_cast<Words4*>(part) + static_cast<uint64_t>(index) * groups;
}

/// Groups that a thread has under way at a time: one alone would be waited for.
inline constexpr uint32_t kGroupsAtOnce = 4;

/// The nth of these from `first` on, where that is below `size`; else the first once more.
TETRAD_DEVICE uint32_t group_at_once(uint32_t first, uint32_t n, uint32_t size) {
  const uint32_t i = first + n * kExchangeThreads;
  return i < size ? i : first;
}
/// of(n, i, is_there) for n < kGroupsAtOnce: i is group_at_once(), and whether that is the nth.
template <class Of>
TETRAD_DEVICE void for_groups_at_once(uint32_t first, uint32_t size, const Of& of) {
  TETRAD_UNROLL
  for (uint32_t n = 0; n < kGroupsAtOnce; ++n)
    of(n, group_at_once(first, n, size), first + n * kExchangeThreads < size);
}

/// Writes this rank's groups, load(i) for i < size, to where the others read them.
template <class Load>
TETRAD_DEVICE void tell_all(const BlockExchange& block, uint32_t size, const Load& load) {
  const RankExchange& ranks = block.ranks;
  for (uint32_t first = thread_index(); first < size; first += kGroupsAtOnce * kExchangeThreads) {
    Words4 groups[kGroupsAtOnce];
    for_groups_at_once(first, size, [&](uint32_t n, uint32_t i, bool) TETRAD_INLINE {
      groups[n] = __builtin_bit_cast(Words4, load(i));
    });
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kMaxRanks; ++r) {
      const bool is_reader = r < ranks.num_ranks && r != ranks.rank;
      if (ranks.is_read_remotely != 0 ? r != ranks.rank : !is_reader) continue;
      Words4* to = slot(block.part_of(ranks.memory[r]), ranks.rank, size);
      for_groups_at_once(first, size, [&](uint32_t n, uint32_t i, bool is_there) TETRAD_INLINE {
        if (is_there) to[i] = groups[n];
      });
    }
  }
}
/// Where rank r's groups of tell_all() are read.
TETRAD_DEVICE const Words4* told_by(const BlockExchange& block, uint32_t r, uint32_t groups) {
  const RankExchange& ranks = block.ranks;
  char* memory = block.memory_of(ranks.is_read_remotely != 0 ? r : ranks.rank);
  return slot(block.part_of(memory), r, groups);
}

/// The sums of kCount groups over the ranks, in their order, this rank's parts being `mine`, which
/// become the sums. from(r, n): what rank r brought.
template <uint32_t kCount, class From>
TETRAD_DEVICE void add_in_order(const RankExchange& ranks, FourFloats (&mine)[kCount],
                                const From& from) {
  FourFloats parts[kMaxRanks][kCount];
  // All loads are on their way before the first is waited for.
  TETRAD_UNROLL
  for (uint32_t r = 0; r < kMaxRanks; ++r) {
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kCount; ++n)
      parts[r][n] = mine[n];
    if (r >= ranks.num_ranks || r == ranks.rank) continue;
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kCount; ++n) {
      uint32_t words[4];
      load_system_16(words, from(r, n));
      TETRAD_UNROLL
      for (uint32_t i = 0; i < 4; ++i)
        parts[r][n].value[i] = __builtin_bit_cast(float, words[i]);
    }
  }
  TETRAD_UNROLL
  for (uint32_t n = 0; n < kCount; ++n)
    mine[n] = parts[0][n];
  TETRAD_UNROLL
  for (uint32_t r = 1; r < kMaxRanks; ++r) {
    if (r >= ranks.num_ranks) break;
    TETRAD_UNROLL
    for (uint32_t n = 0; n < kCount; ++n) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < 4; ++i)
        mine[n].value[i] += parts[r][n].value[i];
    }
  }
}

/// Tells all this rank's groups and adds up all ranks'. load(i) and store(i, group): of this rank's
/// values, i < size.
template <class Load, class Store>
TETRAD_DEVICE void sum_by_one_shot(BlockExchange& block, uint32_t size, const Load& load,
                                   const Store& store) {
  tell_all(block, size, load);
  if (!block.meet(0)) return;
  for (uint32_t first = thread_index(); first < size; first += kGroupsAtOnce * kExchangeThreads) {
    FourFloats sums[kGroupsAtOnce];
    for_groups_at_once(first, size,
                       [&](uint32_t n, uint32_t i, bool) TETRAD_INLINE { sums[n] = load(i); });
    add_in_order(block.ranks, sums, [&](uint32_t r, uint32_t n) TETRAD_INLINE {
      return told_by(block, r, size) + group_at_once(first, n, size);
    });
    for_groups_at_once(first, size, [&](uint32_t n, uint32_t i, bool is_there) TETRAD_INLINE {
      if (is_there) store(i, sums[n]);
    });
  }
}

/// Each rank tells all its values to all.
TETRAD_KERNEL(all_reduce_one_shot, AllReduceArgs, kExchangeThreads) {
  wait_for_launches_before();
  let_next_launch_begin();
  BlockExchange block(args.exchange);
  if (!block.is_whole()) return;
  const GroupRange mine = groups_of_block((args.count + 3) / 4);
  const uint32_t size = mine.end - mine.begin;
  float* values = args.values + 4 * static_cast<uint64_t>(mine.begin);
  const bool is_whole =
      reinterpret_cast<uint64_t>(values) % 16 == 0 && 4 * uint64_t{mine.end} <= args.count;
  if (is_whole) {
    auto* groups = reinterpret_cast<Words4*>(values);
    return sum_by_one_shot(
        block, size,
        [&](uint32_t i) TETRAD_INLINE { return __builtin_bit_cast(FourFloats, groups[i]); },
        [&](uint32_t i, const FourFloats& sum)
            TETRAD_INLINE { groups[i] = __builtin_bit_cast(Words4, sum); });
  }
  sum_by_one_shot(
      block, size,
      [&](uint32_t i) TETRAD_INLINE { return load_group(args.values, mine.begin + i, args.count); },
      [&](uint32_t i, const FourFloats& sum)
          TETRAD_INLINE { store_group(args.values, mine.begin + i, args.count, sum); });
}

/// Each rank adds up its share of the values and tells the others the sums: the same bits, and less
/// to be sent where there are more than two ranks.
TETRAD_KERNEL(all_reduce_two_shot, AllReduceArgs, kExchangeThreads) {
  wait_for_launches_before();
  let_next_launch_begin();
  BlockExchange block(args.exchange);
  if (!block.is_whole()) return;
  const RankExchange& ranks = args.exchange;
  const GroupRange all = groups_of_block((args.count + 3) / 4);
  // Room for any rank's share; the last ones may be smaller.
  const uint32_t room = (all.end - all.begin + ranks.num_ranks - 1) / ranks.num_ranks;
  constexpr uint32_t kSumsAt = kExchangeBlockBytes / 2;
  const auto part = [&](uint32_t r) { return block.part_of(ranks.memory[r]); };
  TETRAD_UNROLL
  for (uint32_t r = 0; r < kMaxRanks; ++r) {
    if (r >= ranks.num_ranks || r == ranks.rank) continue;
    const GroupRange share = all.share(r, ranks.num_ranks);
    Words4* to = ranks.is_read_remotely != 0
                     ? slot(block.part_of(block.memory_of(ranks.rank)), r, room)
                     : slot(part(r), ranks.rank, room);
    for (uint32_t i = share.begin + thread_index(); i < share.end; i += kExchangeThreads)
      to[i - share.begin] = __builtin_bit_cast(Words4, load_group(args.values, i, args.count));
  }
  if (!block.meet(0)) return;

  const GroupRange mine = all.share(ranks.rank, ranks.num_ranks);
  char* const own_part = block.part_of(block.memory_of(ranks.rank));
  for (uint32_t i = mine.begin + thread_index(); i < mine.end; i += kExchangeThreads) {
    const uint32_t at = i - mine.begin;
    const Words4* from[kMaxRanks];
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kMaxRanks; ++r)
      from[r] = (ranks.is_read_remotely != 0 ? slot(part(r), ranks.rank, room)
                                             : slot(own_part, r, room)) +
                at;
    FourFloats sums[1] = {load_group(args.values, i, args.count)};
    add_in_order(ranks, sums, [&](uint32_t r, uint32_t) TETRAD_INLINE { return from[r]; });
    const FourFloats sum = sums[0];
    store_group(args.values, i, args.count, sum);
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kMaxRanks; ++r) {
      const bool is_reader = r < ranks.num_ranks && r != ranks.rank;
      if (ranks.is_read_remotely != 0 ? r == ranks.rank : is_reader)
        slot(part(r) + kSumsAt, ranks.rank, room)[at] = __builtin_bit_cast(Words4, sum);
    }
  }
  if (!block.meet(1)) return;

  TETRAD_UNROLL
  for (uint32_t r = 0; r < kMaxRanks; ++r) {
    if (r >= ranks.num_ranks || r == ranks.rank) continue;
    const GroupRange share = all.share(r, ranks.num_ranks);
    const Words4* from =
        slot((ranks.is_read_remotely != 0 ? part(r) : own_part) + kSumsAt, r, room);
    for (uint32_t i = share.begin + thread_index(); i < share.end; i += kExchangeThreads) {
      uint32_t words[4];
      load_system_16(words, from + (i - share.begin));
      store_group(args.values, i, args.count, __builtin_bit_cast(FourFloats, words));
    }
  }
}

TETRAD_KERNEL(all_gather_ranks, AllGatherArgs, kExchangeThreads) {
  wait_for_launches_before();
  let_next_launch_begin();
  BlockExchange block(args.exchange);
  if (!block.is_whole()) return;
  const RankExchange& ranks = args.exchange;
  const GroupRange mine = groups_of_block(args.num_groups);
  const uint32_t size = mine.end - mine.begin;
  const uint32_t row_groups = (args.cols + 3) / 4;
  const auto load = [&](uint32_t i) TETRAD_INLINE {
    const uint64_t group = args.first_group + mine.begin + i;
    return load_group(args.mine + group / row_groups * args.cols,
                      static_cast<uint32_t>(group % row_groups), args.cols);
  };
  tell_all(block, size, load);
  if (!block.meet(0)) return;
  for (uint32_t r = 0; r < ranks.num_ranks; ++r) {
    const Words4* from = told_by(block, r, size);
    const uint32_t first_col = r * args.cols;
    if (first_col >= args.all_cols) break;
    const uint32_t left = args.all_cols - first_col;
    const uint32_t cols = left < args.cols ? left : args.cols;
    for (uint32_t i = thread_index(); i < size; i += kExchangeThreads) {
      FourFloats four;
      if (r == ranks.rank) {
        four = load(i);
      } else {
        uint32_t words[4];
        load_system_16(words, from + i);
        four = __builtin_bit_cast(FourFloats, words);
      }
      const uint64_t group = args.first_group + mine.begin + i;
      store_group(args.all + group / row_groups * args.all_cols + first_col,
                  static_cast<uint32_t>(group % row_groups), cols, four);
    }
  }
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
