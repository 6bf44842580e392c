#pragma once

// How keys and values come to those who multiply in prefill_rows.h: four warps copy a sequence's
// FP8 blocks some splits ahead and convert them, once for all columns of the block, to halves that
// multiply_staged() reads. In a stage of 64 halves a row keys are rows, whose dimensions stand in
// as many stages as they need; of values each dimension is a row of the split's keys.

#include "gpu/warpgroup.h"
#include "kernels/gpu/attention_tile.h"

namespace tetrad::gpu {

/// A block of attention by rows: two groups of four warps that multiply, 64 columns each, and four
/// warps that feed them.
struct PrefillRowsShape {
  static constexpr uint32_t kGroups = 2;
  static constexpr uint32_t kGroupColumns = 64;
  static constexpr uint32_t kColumns = kGroups * kGroupColumns;
  static constexpr uint32_t kGroupThreads = 128;
  static constexpr uint32_t kMultiplyThreads = kGroups * kGroupThreads;
  static constexpr uint32_t kThreads = kMultiplyThreads + kGroupThreads;
  static constexpr uint32_t kBuffers = 2;      // of a split's keys, and of its values
  static constexpr uint32_t kSplitsAhead = 3;  // on their way as FP8

  static constexpr uint32_t stage_bytes(uint32_t head_dim) { return kSplitKeys * head_dim * 2; }
  static constexpr uint32_t copy_bytes(uint32_t head_dim) { return kSplitKeys * head_dim; }
  static constexpr uint32_t totals_bytes(uint32_t head_dim) { return kColumns * head_dim * 4; }
  static constexpr uint32_t shared_bytes(uint32_t head_dim) {
    return 2 * kBuffers * stage_bytes(head_dim) + 2 * kSplitsAhead * copy_bytes(head_dim) +
           totals_bytes(head_dim);
  }
};
static_assert(PrefillRowsShape::shared_bytes(128) <= 227 * 1024);

namespace TETRAD_MACHINE {

#if TETRAD_HAS_WARPGROUPS

/// Who waits for whom, buffer by buffer. `full` is of one group of those who multiply: neither
/// waits for the other.
struct PrefillBarriers {
  using Shape = PrefillRowsShape;
  static constexpr uint32_t kKeysFull = 1;
  static constexpr uint32_t kValuesFull = kKeysFull + Shape::kGroups * Shape::kBuffers;
  static constexpr uint32_t kKeysEmpty = kValuesFull + Shape::kGroups * Shape::kBuffers;
  static constexpr uint32_t kValuesEmpty = kKeysEmpty + Shape::kBuffers;
  static_assert(kValuesEmpty + Shape::kBuffers <= kNumBarriers);

  TETRAD_DEVICE static void wait_until_full(uint32_t first, uint32_t split) {
    const uint32_t group = warp() / 4;
    sync_barrier(first + group * Shape::kBuffers + split % Shape::kBuffers,
                 2 * Shape::kGroupThreads);
  }
  TETRAD_DEVICE static void say_full(uint32_t first, uint32_t split) {
    show_to_warpgroups();
    TETRAD_UNROLL
    for (uint32_t group = 0; group < Shape::kGroups; ++group)
      arrive_at_barrier(first + group * Shape::kBuffers + split % Shape::kBuffers,
                        2 * Shape::kGroupThreads);
  }
  /// Of the split that was there before.
  TETRAD_DEVICE static void wait_until_empty(uint32_t first, uint32_t split) {
    if (split >= Shape::kBuffers) sync_barrier(first + split % Shape::kBuffers, Shape::kThreads);
  }
  TETRAD_DEVICE static void say_empty(uint32_t first, uint32_t split, uint32_t num_splits) {
    if (split + Shape::kBuffers < num_splits)
      arrive_at_barrier(first + split % Shape::kBuffers, Shape::kThreads);
  }
};

/// Shared memory of a block.
template <uint32_t kHeadDim>
struct PrefillRowsMemory {
  using Shape = PrefillRowsShape;
  static constexpr uint32_t kStageBytes = Shape::stage_bytes(kHeadDim);
  static constexpr uint32_t kCopyBytes = Shape::copy_bytes(kHeadDim);
  TETRAD_DEVICE static char* keys(uint32_t split) {
    return shared_memory() + split % Shape::kBuffers * kStageBytes;
  }
  TETRAD_DEVICE static char* values(uint32_t split) {
    return keys(split) + Shape::kBuffers * kStageBytes;
  }
  TETRAD_DEVICE static char* key_copies(uint32_t split) {
    return shared_memory() + 2 * Shape::kBuffers * kStageBytes +
           split % Shape::kSplitsAhead * kCopyBytes;
  }
  TETRAD_DEVICE static char* value_copies(uint32_t split) {
    return key_copies(split) + Shape::kSplitsAhead * kCopyBytes;
  }
  TETRAD_DEVICE static char* totals() {
    return key_copies(0) + 2 * Shape::kSplitsAhead * kCopyBytes;
  }
};

/// One of the four warps that feed: a block of 16 keys and values of each split is its own.
template <uint32_t kHeadDim>
class SplitFeeder {
 public:
  /// Consecutive dimensions of a value that a lane converts: dimension kDimsOfLane * r + i is row
  /// 32 * i + r of a stage.
  static constexpr uint32_t kDimsOfLane = kHeadDim / 32;

  TETRAD_DEVICE SplitFeeder(const AttentionArgs& args, uint32_t sequence, uint32_t num_keys)
      : args_(args),
        sequence_(sequence),
        num_blocks_(tiles_for(num_keys, kKvBlock)),
        block_(warp() % 4) {
    const uint32_t copies = block_ * kBlockBytes;
    const uint32_t row = lane() % 8;
    const uint32_t first_step = lane() / 8 * kStepsOfLane;
    TETRAD_UNROLL
    for (uint32_t quarter = 0; quarter < 4; ++quarter)
      key_from_[quarter] = copies + copied_at(row, quarter * (kHeadDim / 4) + first_step * 4);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kStepsOfLane; ++i) {
      const uint32_t step = first_step + i;
      const uint32_t stage = step / 4 * (kSplitKeys * kStagedRow);
      TETRAD_UNROLL
      for (uint32_t pair = 0; pair < 2; ++pair)
        key_to_[i][pair] = stage + staged_at(block_ * kKvBlock + row, step % 4 * 2 + pair);
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < 8; ++i)
      value_from_[i] = copies + copied_at(i, lane() * kDimsOfLane);
    TETRAD_UNROLL
    for (uint32_t half = 0; half < 2; ++half)
      value_to_[half] = staged_at(lane(), block_ * 2 + half);
  }

  /// All splits, of a sequence that has `written` keys, of which only the blocks that are wanted
  /// come.
  TETRAD_DEVICE void feed(uint32_t num_splits, uint32_t written) {
    using Barriers = PrefillBarriers;
    const uint32_t copied = num_blocks_ * kKvBlock;
    const uint32_t num_there = written < copied ? written : copied;
    next_ = place(0);
    TETRAD_NO_UNROLL
    for (uint32_t split = 0; split < Shape::kSplitsAhead; ++split)
      ask(split);
    TETRAD_NO_UNROLL
    for (uint32_t split = 0; split < num_splits; ++split) {
      wait_for_copy_groups<Shape::kSplitsAhead - 1>();
      sync_warp();
      Barriers::wait_until_empty(Barriers::kKeysEmpty, split);
      convert_keys(split);
      Barriers::say_full(Barriers::kKeysFull, split);
      Barriers::wait_until_empty(Barriers::kValuesEmpty, split);
      convert_values(split, num_there);
      Barriers::say_full(Barriers::kValuesFull, split);
      sync_warp();
      ask(split + Shape::kSplitsAhead);
    }
  }

 private:
  using Shape = PrefillRowsShape;
  using Memory = PrefillRowsMemory<kHeadDim>;
  static constexpr uint32_t kBlockBytes = kKvBlock * kHeadDim;
  static constexpr uint32_t kRowPieces = kHeadDim / 16;  // of FP8
  static constexpr uint32_t kStagedRow = 128;            // bytes
  static constexpr uint32_t kStepsOfLane = kHeadDim / 64;

  TETRAD_DEVICE uint32_t place(uint32_t split) const {
    const uint32_t index = split * kSplitBlocks + block_;
    if (index >= num_blocks_) return 0;
    return static_cast<uint32_t>(
        args_.block_table[static_cast<uint64_t>(sequence_) * args_.table_stride + index]);
  }
  /// Where byte `offset` of row `row` of a copied block stands: eight lanes that read the same
  /// piece of rows that follow each other find it in different banks.
  TETRAD_DEVICE static uint32_t copied_at(uint32_t row, uint32_t offset) {
    const uint32_t turn = row / (kStagedRow / kHeadDim) % kRowPieces;
    return row * kHeadDim + ((offset / 16) ^ turn) * 16 + offset % 16;
  }
  /// Copies of the split's block begin; a group of copies, if an empty one, each time.
  TETRAD_DEVICE void ask(uint32_t split) {
    const uint32_t physical = next_;
    next_ = place(split + 1);
    if (split * kSplitBlocks + block_ < num_blocks_) {
      const uint64_t from = Attention<kHeadDim>::cache_at(args_, block_x(), physical);
      char* keys = Memory::key_copies(split) + block_ * kBlockBytes;
      char* values = Memory::value_copies(split) + block_ * kBlockBytes;
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kBlockBytes / 16 / 32; ++i) {
        const uint32_t piece = i * 32 + lane();
        const uint32_t to = copied_at(piece / kRowPieces, piece % kRowPieces * 16);
        copy_16_async(keys + to, args_.k_cache + from + piece * 16);
        copy_16_async(values + to, args_.v_cache + from + piece * 16);
      }
    }
    end_copy_group();
  }

  TETRAD_DEVICE static uint32_t staged_at(uint32_t row, uint32_t piece) {
    return row * kStagedRow + turned_piece(row, piece) * 16;
  }

  /// A lane has of one key the dimensions of some steps, as attention_tile.h cuts them: four in
  /// each quarter of the head. Keys that are not there are any numbers: no query sees them.
  TETRAD_DEVICE void convert_keys(uint32_t split) const {
    const char* copies = Memory::key_copies(split);
    char* stages = Memory::keys(split);
    TETRAD_UNROLL
    for (uint32_t half = 0; half < 2; ++half) {  // 8 keys
      uint32_t words[4][kStepsOfLane];
      TETRAD_UNROLL
      for (uint32_t quarter = 0; quarter < 4; ++quarter)
        load_words(words[quarter], copies + key_from_[quarter] + half * (8 * kHeadDim));
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kStepsOfLane; ++i) {
        TETRAD_UNROLL
        for (uint32_t pair = 0; pair < 2; ++pair) {
          Words4 piece;
          TETRAD_UNROLL
          for (uint32_t quarter = 0; quarter < 4; ++quarter)
            piece.word[quarter] = e4m3_as_halves(words[quarter][i], pair);
          *reinterpret_cast<Words4*>(stages + key_to_[i][pair] + half * (8 * kStagedRow)) = piece;
        }
      }
    }
  }
  TETRAD_DEVICE static void load_words(uint32_t (&words)[1], const char* from) {
    words[0] = *reinterpret_cast<const uint32_t*>(from);
  }
  TETRAD_DEVICE static void load_words(uint32_t (&words)[2], const char* from) {
    const Words2 two = *reinterpret_cast<const Words2*>(from);
    words[0] = two.word[0];
    words[1] = two.word[1];
  }

  /// A lane has the same dimensions of 8 values. Those that are not there may be NaN, and become
  /// zero.
  TETRAD_DEVICE void convert_values(uint32_t split, uint32_t num_there) const {
    const char* copies = Memory::value_copies(split);
    char* stage = Memory::values(split);
    const uint32_t first_key = split * kSplitKeys + block_ * kKvBlock;
    TETRAD_UNROLL
    for (uint32_t half = 0; half < 2; ++half) {
      uint32_t words[8];
      TETRAD_UNROLL
      for (uint32_t i = 0; i < 8; ++i)
        words[i] = load_dims(copies + value_from_[i] + half * (8 * kHeadDim));
      if (first_key + (half + 1) * 8 > num_there) {
        TETRAD_UNROLL
        for (uint32_t i = 0; i < 8; ++i)
          words[i] = first_key + half * 8 + i < num_there ? words[i] : 0;
      }
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kDimsOfLane; i += 2) {
        Words4 pieces[2];
        TETRAD_UNROLL
        for (uint32_t j = 0; j < 4; ++j) {
          const uint32_t both = bytes_in_turn(words[2 * j], words[2 * j + 1], i);
          pieces[0].word[j] = e4m3_as_halves(both, 0);
          pieces[1].word[j] = e4m3_as_halves(both, 1);
        }
        TETRAD_UNROLL
        for (uint32_t d = 0; d < 2; ++d)
          *reinterpret_cast<Words4*>(stage + value_to_[half] + (i + d) * (32 * kStagedRow)) =
              pieces[d];
      }
    }
  }
  TETRAD_DEVICE static uint32_t load_dims(const char* from) {
    if constexpr (kDimsOfLane == 4) return *reinterpret_cast<const uint32_t*>(from);
    return *reinterpret_cast<const uint16_t*>(from);
  }

  const AttentionArgs& args_;
  uint32_t sequence_;
  uint32_t num_blocks_;
  uint32_t block_;     // of a split
  uint32_t next_ = 0;  // physical block of the split that ask() comes to
  // Where the lane's pieces of the warp's block stand, from the first copy or stage of a split on:
  // of the first 8 keys or values, or of each half.
  uint32_t key_from_[4];
  uint32_t key_to_[kStepsOfLane][2];
  uint32_t value_from_[8];
  uint32_t value_to_[2];
};

#endif

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
