#pragma once

// How keys and values come to those who multiply in prefill_rows.h: four warps copy a sequence's
// FP8 blocks some splits ahead and convert them, once for all columns of the block, to halves that
// multiply_staged() reads. In a stage of 64 halves a row keys are rows, whose dimensions stand in
// as many stages as they need; of values each dimension is a row of the split's keys.

#include "kernels/gpu/fed_ring.h"
#include "kernels/gpu/prefill_sequence.h"

namespace tetrad::gpu {

/// A block of attention by rows, 64 columns for each group. Keys come by two splits at a time,
/// values by one.
struct PrefillRowsShape : FedBlock {
  static constexpr uint32_t kGroupColumns = 64;
  static constexpr uint32_t kColumns = kGroups * kGroupColumns;
  static constexpr uint32_t kPairKeys = 2 * kSplitKeys;
  static constexpr uint32_t kPlaces = 2;       // of pairs of splits' keys, and of a split's values
  static constexpr uint32_t kSplitsAhead = 4;  // on their way as FP8
  static constexpr uint32_t kStagedRow = 128;  // bytes

  static constexpr uint32_t keys_bytes(uint32_t head_dim) { return kPairKeys * head_dim * 2; }
  /// With eight rows of ones: their products are the sums of the weights.
  static constexpr uint32_t values_bytes(uint32_t head_dim) { return (head_dim + 8) * kStagedRow; }
  static constexpr uint32_t copy_bytes(uint32_t head_dim) { return kSplitKeys * head_dim; }
  static constexpr uint32_t totals_bytes(uint32_t head_dim) { return kColumns * head_dim * 4; }
  static constexpr uint32_t shared_bytes(uint32_t head_dim) {
    return kPlaces * (keys_bytes(head_dim) + values_bytes(head_dim)) +
           2 * kSplitsAhead * copy_bytes(head_dim) + totals_bytes(head_dim) +
           2 * fed_ring_bytes(kPlaces);
  }
};
static_assert(PrefillRowsShape::shared_bytes(128) <= 227 * 1024);

namespace TETRAD_MACHINE {

#if TETRAD_HAS_WARPGROUPS

/// Shared memory of a block.
template <uint32_t kHeadDim>
struct PrefillRowsMemory {
  using Shape = PrefillRowsShape;
  using Ring = FedRing<Shape::kPlaces>;
  using Place = typename Ring::Place;
  static constexpr uint32_t kKeysBytes = Shape::keys_bytes(kHeadDim);
  static constexpr uint32_t kValuesBytes = Shape::values_bytes(kHeadDim);
  static constexpr uint32_t kCopyBytes = Shape::copy_bytes(kHeadDim);
  static constexpr uint32_t kFirstValues = Shape::kPlaces * kKeysBytes;
  static constexpr uint32_t kFirstCopy = kFirstValues + Shape::kPlaces * kValuesBytes;
  static constexpr uint32_t kFirstTotal = kFirstCopy + 2 * Shape::kSplitsAhead * kCopyBytes;
  static constexpr uint32_t kFirstArrival = kFirstTotal + Shape::totals_bytes(kHeadDim);

  TETRAD_DEVICE static char* keys(uint32_t place) { return shared_memory() + place * kKeysBytes; }
  TETRAD_DEVICE static char* values(uint32_t place) {
    return shared_memory() + kFirstValues + place * kValuesBytes;
  }
  TETRAD_DEVICE static char* key_copies(uint32_t split) {
    return shared_memory() + kFirstCopy + split % Shape::kSplitsAhead * kCopyBytes;
  }
  TETRAD_DEVICE static char* value_copies(uint32_t split) {
    return key_copies(split) + Shape::kSplitsAhead * kCopyBytes;
  }
  TETRAD_DEVICE static char* totals() { return shared_memory() + kFirstTotal; }
  TETRAD_DEVICE static Ring key_ring() { return Ring(shared_memory() + kFirstArrival); }
  TETRAD_DEVICE static Ring value_ring() {
    return Ring(shared_memory() + kFirstArrival + fed_ring_bytes(Shape::kPlaces));
  }

  /// By all threads; a sync_block() must follow.
  TETRAD_DEVICE static void init() {
    constexpr uint32_t kOnes = 0x3C003C00u;
    constexpr uint32_t kPieces = 8 * Shape::kStagedRow / 16;
    for (uint32_t i = thread_index(); i < Shape::kPlaces * kPieces; i += Shape::kThreads)
      *reinterpret_cast<Words4*>(values(i / kPieces) + kHeadDim * Shape::kStagedRow +
                                 i % kPieces * 16) = {{kOnes, kOnes, kOnes, kOnes}};
    show_to_warpgroups();
    if (thread_index() != 0) return;
    key_ring().init();
    value_ring().init();
  }
};

/// Some columns of a sequence, and the keys that they see.
struct PrefillWork {
  PrefillSequence sequence;
  uint32_t index;  // of the sequence
  uint32_t first_column;
  uint32_t num_keys;

  TETRAD_DEVICE PrefillWork(const AttentionArgs& args, const PrefillItem& item, uint32_t kv_head)
      : sequence(args, static_cast<uint32_t>(item.sequence), kv_head),
        index(static_cast<uint32_t>(item.sequence)),
        first_column(static_cast<uint32_t>(item.first_column)),
        num_keys(sequence.keys_of(first_column + PrefillRowsShape::kColumns)) {}
  TETRAD_DEVICE uint32_t num_splits() const { return tiles_for(num_keys, kSplitKeys); }
};

/// One of the four warps that feed: a block of 16 keys and values of each split is its own.
template <uint32_t kHeadDim>
class SplitFeeder {
 public:
  /// Consecutive dimensions of a value that a lane converts: dimension kDimsOfLane * r + i is row
  /// 32 * i + r of a stage.
  static constexpr uint32_t kDimsOfLane = kHeadDim / 32;

  TETRAD_DEVICE explicit SplitFeeder(const AttentionArgs& args) : args_(args), block_(warp() % 4) {
    const uint32_t copies = block_ * kBlockBytes;
    const uint32_t row = lane() % 8;
    const uint32_t first_step = lane() / 8 * kStepsOfLane;
    key_from_ = copies + copied_at(row, first_step * 4);
    key_to_ = first_step / 4 * (Shape::kPairKeys * kStagedRow) +
              staged_at(block_ * kKvBlock + row, first_step % 4 * 2);
    value_from_ = copies + lane() * kDimsOfLane;
    value_to_ = staged_at(lane(), block_ * 2);
  }

  /// All splits, in pairs; of the blocks of keys only those that are wanted come.
  TETRAD_DEVICE void feed(const PrefillWork& work) {
    begin(work);
    TETRAD_NO_UNROLL
    for (uint32_t split = 0; split < Shape::kSplitsAhead; ++split)
      ask(split);
    const uint32_t num_splits = work.num_splits();
    TETRAD_NO_UNROLL
    for (uint32_t pair = 0; pair < num_splits; pair += 2) {
      wait_for_copy_groups<Shape::kSplitsAhead - 2>();
      sync_warp();
      Memory::key_ring().wait_until_empty(keys_);
      TETRAD_NO_UNROLL
      for (uint32_t i = 0; i < 2; ++i)
        convert_keys(pair + i, Memory::keys(keys_.index) + i * (kSplitKeys * kStagedRow));
      Memory::key_ring().say_full(keys_.index);
      keys_.next();
      TETRAD_NO_UNROLL
      for (uint32_t i = 0; i < 2; ++i) {
        Memory::value_ring().wait_until_empty(values_);
        convert_values(pair + i, Memory::values(values_.index));
        Memory::value_ring().say_full(values_.index);
        values_.next();
        sync_warp();
        ask(pair + i + Shape::kSplitsAhead);
      }
    }
  }

 private:
  using Shape = PrefillRowsShape;
  using Memory = PrefillRowsMemory<kHeadDim>;
  using Place = typename Memory::Place;
  static constexpr uint32_t kBlockBytes = kKvBlock * kHeadDim;
  static constexpr uint32_t kRowPieces = kHeadDim / 16;  // of FP8
  static constexpr uint32_t kStagedRow = Shape::kStagedRow;
  static constexpr uint32_t kStepsOfLane = kHeadDim / 64;

  TETRAD_DEVICE void begin(const PrefillWork& work) {
    const PrefillSequence& sequence = work.sequence;
    block_table_ = args_.block_table + static_cast<uint64_t>(work.index) * args_.table_stride;
    kv_head_ = sequence.kv_head;
    num_blocks_ = tiles_for(work.num_keys, kKvBlock);
    const uint32_t copied = num_blocks_ * kKvBlock;
    const uint32_t written = sequence.context + sequence.query_len;
    num_there_ = written < copied ? written : copied;
    next_ = place(0);
  }
  TETRAD_DEVICE uint32_t place(uint32_t split) const {
    const uint32_t index = split * kSplitBlocks + block_;
    return index < num_blocks_ ? static_cast<uint32_t>(block_table_[index]) : 0;
  }
  /// Where byte `offset` of row `row` of a copied block stands: eight lanes that read the same
  /// piece of rows that follow each other find it in different banks.
  TETRAD_DEVICE static uint32_t copied_at(uint32_t row, uint32_t offset) {
    return row * kHeadDim + ((offset / 16) ^ turn_of(row)) * 16 + offset % 16;
  }
  TETRAD_DEVICE static constexpr uint32_t turn_of(uint32_t row) {
    return row / (kStagedRow / kHeadDim) % kRowPieces;
  }
  /// Copies of the split's block begin; a group of copies, if an empty one, each time.
  TETRAD_DEVICE void ask(uint32_t split) {
    const uint32_t physical = next_;
    next_ = place(split + 1);
    if (split * kSplitBlocks + block_ < num_blocks_) {
      const uint64_t from = Attention<kHeadDim>::cache_at(args_, kv_head_, physical);
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
  TETRAD_DEVICE void convert_keys(uint32_t split, char* stages) const {
    const char* copies = Memory::key_copies(split);
    TETRAD_UNROLL
    for (uint32_t half = 0; half < 2; ++half) {  // 8 keys
      uint32_t words[4][kStepsOfLane];
      TETRAD_UNROLL
      for (uint32_t quarter = 0; quarter < 4; ++quarter)
        load_words(words[quarter],
                   copies + (key_from_ ^ quarter * (kHeadDim / 4)) + half * (8 * kHeadDim));
      TETRAD_UNROLL
      for (uint32_t i = 0; i < kStepsOfLane; ++i) {
        TETRAD_UNROLL
        for (uint32_t pair = 0; pair < 2; ++pair) {
          Words4 piece;
          TETRAD_UNROLL
          for (uint32_t quarter = 0; quarter < 4; ++quarter)
            piece.word[quarter] = e4m3_as_halves(words[quarter][i], pair);
          *reinterpret_cast<Words4*>(stages + (key_to_ ^ (i * 2 + pair) * 16) +
                                     half * (8 * kStagedRow)) = piece;
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
  TETRAD_DEVICE void convert_values(uint32_t split, char* stage) const {
    const char* copies = Memory::value_copies(split);
    const uint32_t first_key = split * kSplitKeys + block_ * kKvBlock;
    TETRAD_UNROLL
    for (uint32_t half = 0; half < 2; ++half) {
      uint32_t words[8];
      TETRAD_UNROLL
      for (uint32_t i = 0; i < 8; ++i)
        words[i] = load_dims(copies + (value_from_ ^ turn_of(i) * 16) + (half * 8 + i) * kHeadDim);
      if (first_key + (half + 1) * 8 > num_there_) {
        TETRAD_UNROLL
        for (uint32_t i = 0; i < 8; ++i)
          words[i] = first_key + half * 8 + i < num_there_ ? words[i] : 0;
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
          *reinterpret_cast<Words4*>(stage + (value_to_ ^ half * 16) +
                                     (i + d) * (32 * kStagedRow)) = pieces[d];
      }
    }
  }
  TETRAD_DEVICE static uint32_t load_dims(const char* from) {
    if constexpr (kDimsOfLane == 4) return *reinterpret_cast<const uint32_t*>(from);
    return *reinterpret_cast<const uint16_t*>(from);
  }

  const AttentionArgs& args_;
  Place keys_;
  Place values_;
  uint32_t block_;  // of a split
  // Of the work.
  const int32_t* block_table_ = nullptr;
  uint32_t kv_head_ = 0;
  uint32_t num_blocks_ = 0;
  uint32_t num_there_ = 0;  // keys of these blocks that are written
  uint32_t next_ = 0;       // physical block of the split that ask() comes to
  // Where the first of the lane's pieces of the warp's block stand, from the first copy or stage of
  // a split on. What of the others' places is not the same for all lanes differs in bits that are
  // turned over.
  uint32_t key_from_;
  uint32_t key_to_;
  uint32_t value_from_;
  uint32_t value_to_;
};

#endif

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
