#pragma once

// Products of codes for many tokens where the machine multiplies by four warps together
// (warpgroup.h), bit for bit those of gemm_block.h. A block stays on its multiprocessor and takes
// one item after the other, which four of its warps feed (gemm_feed.h); two groups of four warps
// multiply, each 128 of an item's 256 rows, and wait for nobody but those who feed.
//
// What a step of 64 columns costs an H200's multiprocessor, in cycles, for T tokens (8 T are the
// products): about 1,650 for 128; before copies said themselves that they had arrived 1,120 for 64,
// of which 640 were without copies and levels.
// Levels, 96 of a step's 155 instructions a warp, add their time to the products' in whatever order
// they are asked for: by four warps while the other four multiply, in turns, or a half step ahead,
// as here (docs/performance.md). By byte permutes instead of the table they take 150 more.

#include "kernels/gpu/gemm_experts.h"
#include "kernels/gpu/gemm_feed.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

#if TETRAD_HAS_WARPGROUPS

/// One of the warps that multiply: two row tiles of all of an item's tokens, and of those the
/// levels of the next half step, which are looked up while products are computed.
template <class Shape, uint32_t kParts>
class FedWarp {
 public:
  /// Waits for the block's first step.
  TETRAD_DEVICE FedWarp() {
    Memory::steps().wait_until_full(place_.tokens);
    load_tiles();
    look_up<0>();
    show_to_warpgroups();
  }

  /// All of an item; `store` gets the sums. Then the next one's first step is there.
  template <uint32_t kTokens, class Store>
  TETRAD_DEVICE void multiply(uint32_t column_tiles, const Store& store) {
    constexpr uint32_t kTokenTiles = kTokens / Fragment::kTokens;
    constexpr uint32_t kInRegisters = fed_tokens_in_registers(kTokens) / Fragment::kTokens;
    float sums[kRowTiles][kTokenTiles][Fragment::kD];
    float totals[kRowTiles][kInRegisters][Fragment::kD];
    const auto at = [](uint32_t i) TETRAD_INLINE { return Memory::total(i); };
    fill_sums(sums, 0.0f);
    // What -0 is added to stays what it is.
    fill_sums(totals, -0.0f);
    uint32_t column_tile = 0;
    TETRAD_NO_UNROLL
    do {
      const bool is_first = column_tile == 0;
      const uint32_t left = column_tiles - column_tile;
      const uint32_t steps = left < kSegmentTiles ? left : kSegmentTiles;
      TETRAD_NO_UNROLL
      for (uint32_t step = 0; step < steps; ++step)
        multiply_step(sums, step);
      wait_for_sums(sums);
      Memory::steps().say_empty(stage_);
      column_tile += steps;
      for_each_sum(totals, [&](float& total, uint32_t r, uint32_t n, uint32_t i) TETRAD_INLINE {
        total += sums[r][n][i];
        sums[r][n][i] = total;
      });
      // Others are left where the next segment finds them, but the last one's.
      if (!is_first) add_totals<kInRegisters>(sums, at);
      if (column_tile < column_tiles) store_totals<kInRegisters>(sums, at);
    } while (column_tile < column_tiles);
    store(sums);
  }

 private:
  using Memory = FedMemory<Shape>;
  static constexpr uint32_t kRowTiles = 2;
  /// A of two groups of columns.
  using Operand = uint32_t[2][kRowTiles][Fragment::kA];

  /// The step whose levels are there, and what is there of the next: sums += W x, or = in step 0.
  template <uint32_t kTokenTiles>
  TETRAD_DEVICE void multiply_step(float (&sums)[kRowTiles][kTokenTiles][Fragment::kD],
                                   uint32_t step) {
    uint32_t scales[kRowTiles][4];
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kRowTiles; ++r) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < 4; ++i)
        scales[r][i] = tiles_[r].scales[i];
    }
    const uint32_t stage_before = stage_;
    stage_ = place_.tokens.index;
    scale<0>(scales);
    multiply_pair<0>(sums, step);
    if (step != 0) Memory::steps().say_empty(stage_before);
    // Asked before the look-ups, behind which the answer would come.
    place_.next();
    const bool is_full = Memory::steps().is_full(place_.tokens);
    look_up<1>();
    if (!is_full) Memory::steps().wait_until_full(place_.tokens);
    load_tiles();
    wait_for_products();
    scale<1>(scales);
    multiply_pair<1>(sums, 1);
    // The next step's tokens; here, where nothing is on its way but the next tiles.
    show_to_warpgroups();
    look_up<0>();
    // At the beginning of the next step sums would be on their way where loops meet, and ptxas
    // would keep each loop's registers from the others.
    wait_for_products();
  }

  TETRAD_DEVICE void load_tiles() {
    const char* mine =
        Memory::weights(place_.weights_index()) + warp() * (kRowTiles / kParts) * kCodeTileBytes;
    constexpr uint32_t kNext = kParts == 2 ? kGemmRowTiles / 2 : 1;
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kRowTiles; ++r)
      tiles_[r].load_staged(mine + r * (kNext * kCodeTileBytes));
    if constexpr (!Shape::kTogether) Memory::weight_places().say_empty(place_.weights.index);
  }
  /// Pairs of levels of groups 2 kPair and 2 kPair + 1 of the tiles.
  template <uint32_t kPair>
  TETRAD_DEVICE void look_up() {
    TETRAD_UNROLL
    for (uint32_t g = 0; g < 2; ++g) {
      TETRAD_UNROLL
      for (uint32_t r = 0; r < kRowTiles; ++r) {
        TETRAD_UNROLL
        for (uint32_t byte = 0; byte < 4; ++byte)
          levels_[g][r][Fragment::a_register(byte / 2, byte % 2)] =
              wide_level_pair(Memory::table(), tiles_[r].codes[2 * kPair + g], byte);
      }
    }
  }
  /// A: level times scale, rounded once to a half.
  template <uint32_t kPair>
  TETRAD_DEVICE void scale(const uint32_t (&scales)[kRowTiles][4]) {
    TETRAD_UNROLL
    for (uint32_t r = 0; r < kRowTiles; ++r) {
      TETRAD_UNROLL
      for (uint32_t row = 0; row < Fragment::kRowsOfLane; ++row) {
        const uint32_t both = scales[r][2 * row + kPair];
        const uint32_t of_group[2] = {double_half<0>(both), double_half<1>(both)};
        TETRAD_UNROLL
        for (uint32_t g = 0; g < 2; ++g) {
          TETRAD_UNROLL
          for (uint32_t j = 0; j < 2; ++j) {
            const uint32_t i = Fragment::a_register(row, j);
            a_[g][r][i] = multiply_halves(levels_[g][r][i], of_group[g]);
          }
        }
      }
    }
  }
  template <uint32_t kPair, uint32_t kTokenTiles>
  TETRAD_DEVICE void multiply_pair(float (&sums)[kRowTiles][kTokenTiles][Fragment::kD],
                                   uint32_t adds) const {
    const char* activations = Memory::activations(stage_);
    begin_products();
    TETRAD_UNROLL
    for (uint32_t g = 0; g < 2; ++g) {
      TETRAD_UNROLL
      for (uint32_t r = 0; r < kRowTiles; ++r) {
        if (kPair == 0 && g == 0)
          multiply_staged_if(sums[r], a_[g][r], activations, 2 * kPair + g, adds);
        else
          multiply_staged(sums[r], a_[g][r], activations, 2 * kPair + g);
      }
    }
    end_products();
  }

  FedPlace<Shape> place_;  // of the tiles
  uint32_t stage_ = 0;     // place of the tokens that are multiplied
  CodeTile<Fragment> tiles_[kRowTiles];
  Operand levels_;
  Operand a_;
};

/// All items: items.count() of them; the n-th is items.work(n), and items.store(item) stores it.
template <class Shape, uint32_t kParts, class Items>
TETRAD_DEVICE void gemm_fed(const Items& items, const int8_t (&codebook)[16], const uint16_t* x,
                            uint32_t x_stride, uint32_t column_tiles) {
  using Memory = FedMemory<Shape>;
  fill_level_table<kWideRowWords>(Memory::table(), codebook, Shape::kThreads);
  if (thread_index() == 0) Memory::init_rings();
  wait_for_launches_before();
  let_next_launch_begin();
  if (block_x() >= items.count()) return;
  sync_block();
  if (warp() >= Shape::kMultiplyWarps) {
    give_registers_back<56>();
    GemmFeeder<Shape, kParts>(x, x_stride).feed(items);
    return;
  }
  take_registers<224>();
  FedWarp<Shape, kParts> mine;
  uint32_t number = 0;
  TETRAD_NO_UNROLL
  for (uint32_t n = block_x(); n < items.count(); n += grid_x()) {
    const FedItem<Shape>& item = Memory::item(number++);
    const uint32_t num_tokens = same_in_warp(item.num_tokens);
    const auto store = [&](const auto& sums) TETRAD_INLINE {
      items.store(item).store(sums, item.first_row_tile + warp() * (2 / kParts));
    };
    // One after the other, as in multiply_block().
    uint32_t more_than = 0;
    const auto by_loop_of = [&]<uint32_t kTokens>() TETRAD_INLINE {
      if (num_tokens > more_than && num_tokens <= kTokens)
        mine.template multiply<kTokens>(column_tiles, store);
      more_than = kTokens;
    };
    [&]<uint32_t... kTokens>(FedLoops<kTokens...>) TETRAD_INLINE {
      (by_loop_of.template operator()<kTokens>(), ...);
    }(typename Shape::Loops());
    by_loop_of.template operator()<Shape::kTokens>();
  }
}

struct DenseItems {
  const GemmArgs& args;
  TETRAD_DEVICE uint32_t row_blocks() const { return tiles_for(args.weight.rows, kGemmRows); }
  TETRAD_DEVICE uint32_t count() const {
    return row_blocks() * tiles_for(args.num_tokens, args.token_tile);
  }
  TETRAD_DEVICE FedWork<1> work(uint32_t item) const {
    const uint32_t first = item / row_blocks() * args.token_tile;
    return {.weights = dense_work<CodeTile<Fragment>>(args, item % row_blocks(), first),
            .first_token = first};
  }
  template <class Item>
  TETRAD_DEVICE StoreFloats store(const Item& item) const {
    return dense_store(args, item.tokens, item.num_tokens);
  }
};

struct ExpertsUpItems {
  const ExpertsUpGemmArgs& args;
  TETRAD_DEVICE uint32_t row_blocks() const { return tiles_for(args.w1.rows, kGemmUpRows); }
  TETRAD_DEVICE uint32_t count() const { return row_blocks() * *args.tiles.num_tiles; }
  TETRAD_DEVICE FedWork<2> work(uint32_t item) const {
    const ExpertTile tile(args.lists, args.tiles, item / row_blocks());
    return {.weights = up_work<CodeTile<Fragment>>(args, item % row_blocks(), tile),
            .pairs = args.lists.sorted_pairs + tile.first_pair,
            .divisor = args.num_experts_per_tok};
  }
  template <class Item>
  TETRAD_DEVICE StoreHidden store(const Item& item) const {
    return up_store(args, item.tokens, item.num_tokens);
  }
};

struct ExpertsDownItems {
  const ExpertsDownGemmArgs& args;
  TETRAD_DEVICE uint32_t row_blocks() const { return tiles_for(args.w2.rows, kGemmRows); }
  TETRAD_DEVICE uint32_t count() const { return row_blocks() * *args.tiles.num_tiles; }
  TETRAD_DEVICE FedWork<1> work(uint32_t item) const {
    const ExpertTile tile(args.lists, args.tiles, item / row_blocks());
    return {.weights = down_work<CodeTile<Fragment>>(args, item % row_blocks(), tile),
            .pairs = args.lists.sorted_pairs + tile.first_pair};
  }
  template <class Item>
  TETRAD_DEVICE StoreFloats store(const Item& item) const {
    return down_store(args, item.tokens, item.num_tokens);
  }
};

template <class Shape>
TETRAD_DEVICE void dense_fed(const GemmArgs& args) {
  gemm_fed<Shape, 1>(DenseItems{args}, args.codebook, args.x, args.x_stride,
                     tiles_for(args.weight.cols, kTileColumns));
}
template <class Shape>
TETRAD_DEVICE void experts_up_fed(const ExpertsUpGemmArgs& args) {
  gemm_fed<Shape, 2>(ExpertsUpItems{args}, args.codebook, args.x, args.x_stride,
                     tiles_for(args.w1.cols, kTileColumns));
}
template <class Shape>
TETRAD_DEVICE void experts_down_fed(const ExpertsDownGemmArgs& args) {
  gemm_fed<Shape, 1>(ExpertsDownItems{args}, args.codebook, args.hidden, args.hidden_stride,
                     tiles_for(args.w2.cols, kTileColumns));
}

// Grid: as many blocks as there are multiprocessors, or items.

TETRAD_LONE_KERNEL(gemm_codes_fed, GemmArgs, 384) {
  dense_fed<DenseFedShape>(args);
}
TETRAD_LONE_KERNEL(gemm_codes_fed_wide, GemmArgs, 384) {
  dense_fed<WideFedShape>(args);
}
TETRAD_LONE_KERNEL(experts_up_gemm_codes_fed, ExpertsUpGemmArgs, 384) {
  experts_up_fed<ExpertsFedShape>(args);
}
TETRAD_LONE_KERNEL(experts_up_gemm_codes_fed_wide, ExpertsUpGemmArgs, 384) {
  experts_up_fed<WideFedShape>(args);
}
TETRAD_LONE_KERNEL(experts_down_gemm_codes_fed, ExpertsDownGemmArgs, 384) {
  experts_down_fed<ExpertsFedShape>(args);
}
TETRAD_LONE_KERNEL(experts_down_gemm_codes_fed_wide, ExpertsDownGemmArgs, 384) {
  experts_down_fed<WideFedShape>(args);
}
static_assert(FedBlock::kThreads == 384);

#endif

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
