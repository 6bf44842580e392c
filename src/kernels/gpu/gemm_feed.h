#pragma once

// How weights and activations come to those who multiply in gemm_fed.h: four warps copy them to
// shared memory some steps of 64 columns ahead, one item of the block's after the other without a
// pause. An item is a block of 256 rows and a tile of tokens.

#include "kernels/gpu/fed_ring.h"
#include "kernels/gpu/gemm_weights.h"
#include "kernels/gpu/wide_level_table.h"

namespace tetrad::gpu {

/// Places in shared memory for the tokens, and for the weights, of so many steps. With as many of
/// both a step's are filled and emptied together. With fewer for weights, which stay in registers
/// half a step after they have been loaded, there is room for larger tiles.
template <uint32_t kOfTokens, uint32_t kOfWeights>
struct FedPlaces {
  static_assert(kOfWeights <= kOfTokens);
  static constexpr uint32_t kTokenPlaces = kOfTokens;
  static constexpr uint32_t kWeightPlaces = kOfWeights;
  static constexpr bool kTogether = kOfTokens == kOfWeights;
};

/// Of so many tokens of a tile, the first whose totals registers have room for beside the sums.
constexpr uint32_t fed_tokens_in_registers(uint32_t tokens) {
  constexpr uint32_t kRoom = 160;
  return tokens <= kRoom - tokens ? tokens : (kRoom - tokens) / 8 * 8;
}

/// Loops for so many tokens each, in ascending order, multiples of 8.
template <uint32_t... kTokens>
struct FedLoops {};

/// A tile of at most kMostTokens tokens is multiplied by the first loop that has room for it.
template <class Places, uint32_t kMostTokens, class LoopsForLess>
struct GemmFedShape : FedBlock, Places {
  using Loops = LoopsForLess;
  static constexpr uint32_t kTokens = kMostTokens;
  static constexpr uint32_t kWeightsBytes = kGemmRowTiles * kCodeTileBytes;
  /// 64 halves each, as multiply_staged() reads them.
  static constexpr uint32_t kTokensBytes = kTokens * kTileColumns * 2;
  static_assert(kTokensBytes % 1024 == 0 && kWideTableBytes % 1024 == 0);
  /// Totals that are not in registers: some are in the halves of the table's rows that have no
  /// levels.
  static constexpr uint32_t kTableTokens = kWideTableBytes / 2 / (kGemmRows * 4);
  static_assert(kMultiplyThreads / 8 * (kTableTokens * kGemmRows / 4 / kMultiplyThreads) == 256);
  static constexpr uint32_t kSharedTokens = kTokens - fed_tokens_in_registers(kTokens);
  static constexpr uint32_t kTotalsBytes = kSharedTokens > kTableTokens
                                               ? (kSharedTokens - kTableTokens) * kGemmRows * 4
                                               : 0;
  /// What is known of an item, for as many as may be under way: one more than there are places.
  static constexpr uint32_t kItems = Places::kTokenPlaces + 1;
  static constexpr uint32_t kItemWords = 2 + kTokens;

  // From the table on.
  static constexpr uint32_t kFirstTokens = kWideTableBytes;
  static constexpr uint32_t kFirstWeights = kFirstTokens + Places::kTokenPlaces * kTokensBytes;
  static constexpr uint32_t kFirstTotal = kFirstWeights + Places::kWeightPlaces * kWeightsBytes;
  static constexpr uint32_t kFirstArrival = kFirstTotal + kTotalsBytes;
  static constexpr uint32_t kFirstEmptied = kFirstArrival + fed_ring_bytes(Places::kTokenPlaces);
  static constexpr uint32_t kFirstItem =
      kFirstEmptied + (Places::kTogether ? 0 : emptied_places_bytes(Places::kWeightPlaces));
  static constexpr uint32_t kSharedBytes = kFirstItem + kItems * kItemWords * 4;
  static_assert(kSharedBytes <= 227 * 1024);
};

/// The experts' where they have few tokens, for which it is a few hundredths faster.
using ExpertsFedShape = GemmFedShape<FedPlaces<5, 5>, 80, FedLoops<32, 48, 56, 64, 72>>;
/// One matrix for all tokens.
using DenseFedShape = GemmFedShape<FedPlaces<4, 4>, 96, FedLoops<32, 64, 80>>;
/// Of both, where there are tokens for them. A level that is looked up serves all of a tile.
using WideFedShape = GemmFedShape<FedPlaces<4, 3>, 128, FedLoops<32, 64, 72, 80, 96, 112>>;

namespace TETRAD_MACHINE {

#if TETRAD_HAS_WARPGROUPS

/// What those who multiply must know of an item.
template <class Shape>
struct FedItem {
  uint32_t num_tokens;
  uint32_t first_row_tile;
  uint32_t tokens[Shape::kTokens];  // rows of the output, all of them valid
};

/// Shared memory of a block.
template <class Shape>
struct FedMemory {
  TETRAD_DEVICE static uint32_t* table() { return reinterpret_cast<uint32_t*>(shared_memory()); }
  TETRAD_DEVICE static char* weights(uint32_t place) {
    return shared_memory() + Shape::kFirstWeights + place * Shape::kWeightsBytes;
  }
  TETRAD_DEVICE static char* activations(uint32_t place) {
    return shared_memory() + Shape::kFirstTokens + place * Shape::kTokensBytes;
  }
  /// The i-th four of this thread's totals, of those that multiply.
  TETRAD_DEVICE static Words4* total(uint32_t i) {
    constexpr uint32_t kInTable = Shape::kTableTokens * kGemmRows / 4 / Shape::kMultiplyThreads;
    const uint32_t thread = thread_index();
    char* in_table =
        shared_memory() + kWideRowBytes / 2 + thread / 8 * kWideRowBytes + thread % 8 * 16;
    if (i < kInTable)
      return reinterpret_cast<Words4*>(in_table +
                                       i * (Shape::kMultiplyThreads / 8 * kWideRowBytes));
    return reinterpret_cast<Words4*>(shared_memory() + Shape::kFirstTotal) +
           ((i - kInTable) * Shape::kMultiplyThreads + thread);
  }
  TETRAD_DEVICE static FedItem<Shape>& item(uint32_t number) {
    static_assert(sizeof(FedItem<Shape>) == Shape::kItemWords * 4);
    return reinterpret_cast<FedItem<Shape>*>(shared_memory() +
                                             Shape::kFirstItem)[number % Shape::kItems];
  }

  /// Of steps: the places of their tokens, and what is full there is so of weights, too.
  using Ring = CopiedRing<Shape::kTokenPlaces>;
  TETRAD_DEVICE static Ring steps() { return Ring(shared_memory() + Shape::kFirstArrival); }
  using WeightRing = EmptiedPlaces<Shape::kWeightPlaces>;
  TETRAD_DEVICE static WeightRing weight_places() {
    return WeightRing(shared_memory() + Shape::kFirstEmptied);
  }
  TETRAD_DEVICE static void init_rings() {
    steps().init();
    if constexpr (!Shape::kTogether) weight_places().init();
  }
};

/// A step's places.
template <class Shape>
struct FedPlace {
  RingPlace<Shape::kTokenPlaces> tokens;
  RingPlace<Shape::kWeightPlaces> weights;
  TETRAD_DEVICE uint32_t weights_index() const {
    return Shape::kTogether ? tokens.index : weights.index;
  }
  TETRAD_DEVICE void next() {
    tokens.next();
    if constexpr (!Shape::kTogether) weights.next();
  }
};

/// An item: its rows of kParts matrices, and its tokens.
template <uint32_t kParts>
struct FedWork {
  GemmWork<kParts> weights;
  const uint32_t* pairs = nullptr;  // the output's rows; without, tokens are
  uint32_t first_token = 0;
  uint32_t divisor = 1;  // x has a row for so many of the output
  TETRAD_DEVICE uint32_t row_of_output(uint32_t token) const {
    return pairs == nullptr ? first_token + token : pairs[token];
  }
};

/// One of the threads that feed.
template <class Shape, uint32_t kParts>
class GemmFeeder {
 public:
  TETRAD_DEVICE GemmFeeder(const uint16_t* x, uint32_t x_stride)
      : x_(x), x_stride_(x_stride), thread_(thread_index() - Shape::kMultiplyThreads) {}

  /// All of the block's items, in their order.
  template <class Items>
  TETRAD_DEVICE void feed(const Items& items) {
    uint32_t number = 0;
    TETRAD_NO_UNROLL
    for (uint32_t item = block_x(); item < items.count(); item += grid_x()) {
      const FedWork<kParts> work = items.work(item);
      take(work);
      feed_item<kTokenCopies>(work, number++);
    }
    // Those who multiply look one step ahead.
    Memory::steps().wait_until_empty(place_.tokens);
    Memory::steps().say_asked(place_.tokens.index);
    // A thread does not end before its copies, which nothing else here waits for.
    end_copy_group();
    wait_for_copy_groups<0>();
  }

 private:
  using Memory = FedMemory<Shape>;
  static constexpr uint32_t kTilePieces = kCodeTileBytes / 16;
  static constexpr uint32_t kRowTilesOfPart = kGemmRowTiles / kParts;
  static constexpr uint32_t kWeightCopies = kGemmRowTiles * kTilePieces / Shape::kGroupThreads;
  static_assert(kWeightCopies * Shape::kGroupThreads == kGemmRowTiles * kTilePieces);
  static constexpr uint32_t kTokensAtOnce = Shape::kGroupThreads / 8;
  static constexpr uint32_t kTokenCopies = Shape::kTokens / kTokensAtOnce;
  static_assert(kTokenCopies * kTokensAtOnce == Shape::kTokens);

  /// All steps of an item, of whose tokens' pieces as many are this thread's as it has tokens for,
  /// kCopies at most: a loop for each number, without a branch before each of the copies, which
  /// would take as long as the copy.
  template <uint32_t kCopies>
  TETRAD_DEVICE void feed_item(const FedWork<kParts>& work, uint32_t number) {
    if constexpr (kCopies > 1) {
      if (num_tokens_ <= (kCopies - 1) * kTokensAtOnce) return feed_item<kCopies - 1>(work, number);
    }
    TETRAD_NO_UNROLL
    for (uint32_t column_tile = 0; column_tile < work.weights.column_tiles; ++column_tile) {
      wait_for_place_of_weights();
      copy_weights();
      Memory::steps().wait_until_empty(place_.tokens);
      // Those who multiply are past the item that had this place: see Shape::kItems.
      if (column_tile == 0) tell(work, number);
      copy_tokens<kCopies>();
      Memory::steps().say_asked(place_.tokens.index);
      place_.next();
    }
  }
  TETRAD_DEVICE void take(const FedWork<kParts>& work) {
    const GemmWork<kParts>& of = work.weights;
    num_tokens_ = of.num_tokens;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kWeightCopies; ++i) {
      const uint32_t piece = i * Shape::kGroupThreads + thread_;
      const uint32_t tile = piece / kTilePieces;
      const uint32_t row_tile = of.row_tile(tile % kRowTilesOfPart);
      const char* matrix = of.tiles[0];
      if constexpr (kParts == 2) matrix = tile < kRowTilesOfPart ? matrix : of.tiles[1];
      weights_[i] =
          matrix + static_cast<uint64_t>(row_tile) * of.row_bytes + piece % kTilePieces * 16;
    }
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kTokenCopies; ++i) {
      const uint32_t token = i * kTokensAtOnce + thread_ / 8;
      const uint32_t row = work.row_of_output(token < num_tokens_ ? token : 0) / work.divisor;
      tokens_[i] = x_ + (static_cast<uint64_t>(row) * x_stride_ + thread_ % 8 * 8);
    }
  }
  TETRAD_DEVICE void tell(const FedWork<kParts>& work, uint32_t number) const {
    FedItem<Shape>& item = Memory::item(number);
    if (thread_ == 0) {
      item.num_tokens = num_tokens_;
      item.first_row_tile = work.weights.first_row_tile;
    }
    static_assert(Shape::kTokens <= Shape::kGroupThreads);
    if (thread_ < Shape::kTokens)
      item.tokens[thread_] = work.row_of_output(thread_ < num_tokens_ ? thread_ : 0);
  }
  TETRAD_DEVICE void wait_for_place_of_weights() const {
    if constexpr (Shape::kTogether)
      Memory::steps().wait_until_empty(place_.tokens);
    else
      Memory::weight_places().wait_until_empty(place_.weights);
  }
  /// A step's, and on to the next one's: addresses stay in the registers that the copies read.
  TETRAD_DEVICE void copy_weights() {
    char* to = Memory::weights(place_.weights_index()) + thread_ * 16;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kWeightCopies; ++i) {
      copy_16_async(to + i * (Shape::kGroupThreads * 16), weights_[i]);
      weights_[i] += kCodeTileBytes;
    }
  }
  /// Likewise. What is in the places of tokens that are not there may be any numbers: nobody stores
  /// what comes of them.
  template <uint32_t kCopies>
  TETRAD_DEVICE void copy_tokens() {
    static_assert(kTokensAtOnce % 8 == 0);
    char* to = staged_piece(Memory::activations(place_.tokens.index), thread_ / 8, thread_ % 8);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCopies; ++i) {
      copy_16_async(to + i * (kTokensAtOnce * kTileColumns * 2), tokens_[i]);
      tokens_[i] += kTileColumns;
    }
  }

  const uint16_t* x_;
  uint32_t x_stride_;
  uint32_t thread_;
  uint32_t num_tokens_ = 0;
  // This thread's pieces of 16 bytes of the next step.
  const char* weights_[kWeightCopies];
  const uint16_t* tokens_[kTokenCopies];
  FedPlace<Shape> place_;
};

#endif

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
