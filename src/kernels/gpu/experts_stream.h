#pragma once

// The experts of a few tokens, of whom each expert has a few, with the bits of decode_experts.h: w1
// and w3, then w2; combine_experts adds up the picks. Weights come as in experts_of_one.h, by
// copies that run by themselves (weight_stream.h). A block a multiprocessor; each has a stretch of
// the tiles of rows of all experts, one expert after the other, and each warp every kStreamWarps-th
// of these, with all their columns, so that nothing is added up between warps.
//
// What a tile of 16 x 64 costs a multiprocessor's shared memory: 16 wavefronts of levels, 8 of
// codes and scales, and 2 for each two tokens. Memory brings one in 33 cycles.

#include "kernels/gpu/decode_experts.h"
#include "kernels/gpu/group_by_expert.h"
#include "kernels/gpu/weight_stream.h"

namespace tetrad::gpu {

static_assert(kStreamThreads >= kChoiceThreads && kStreamThreads == 384);  // as the kernels have it

/// Fewer tokens are faster by decode_experts.h, of which two blocks fit a multiprocessor: on an
/// H200 two tokens by 13 %, four by 3 %, and five are slower by 2 %.
inline constexpr uint32_t kLeastStreamedTokens = 5;
/// Tokens of an expert that a pass over its weights takes: a tile of the fragment.
inline constexpr uint32_t kPassTokens = 8;
/// Pairs of tokens and experts of a launch, at most: there is room for their passes.
inline constexpr uint32_t kMaxStreamedPairs = 2048;

/// Where what lies in a block's shared memory, in bytes.
struct ExpertsStreamLayout {
  static constexpr uint32_t kMaxPasses = kMaxExperts + kMaxStreamedPairs / kPassTokens;

  uint32_t arrivals = kWideTableBytes;
  uint32_t chunks = arrivals + kArrivalBytes;
  uint32_t passes = chunks + kStreamChunkBytes;
  uint32_t passes_of_warps = passes + kMaxPasses * sizeof(ActiveExpert);
  uint32_t few_pairs = passes_of_warps + 16 * 4;
  uint32_t pairs = few_pairs + kMaxFewPairs * 4;
  uint32_t x = pairs + kPassTokens * 4;
  uint32_t row_bytes;  // of a token: the second of two is where the first leaves banks
  uint32_t end;

  TETRAD_DEVICE constexpr explicit ExpertsStreamLayout(uint32_t cols)
      : row_bytes(cols * 2 + 64), end(x + kPassTokens * row_bytes) {}
};
static_assert(sizeof(ChoiceMemory) <= kStreamChunkBytes);

namespace TETRAD_MACHINE {

/// Passes over experts' weights, each with up to kPassTokens of the expert's pairs.
struct ExpertPasses {
  const ActiveExpert* passes;
  uint32_t count;

  /// By all threads of the block.
  TETRAD_DEVICE ExpertPasses(const ExpertLists& lists, ActiveExpert* memory,
                             uint32_t* passes_of_warps)
      : passes(memory) {
    const uint32_t num_active = *lists.num_active;
    const uint32_t mine = thread_index();
    ActiveExpert active;
    if (mine < num_active) {
      const Words4 words = *reinterpret_cast<const Words4*>(lists.active + mine);
      active = {words.word[0], words.word[1], words.word[2], 0};
    }
    const uint32_t own = tiles_for(active.num_pairs, kPassTokens);
    const uint32_t to_here = sum_of_lanes_before(own);
    if (lane() == 31) passes_of_warps[warp()] = to_here;
    sync_block();
    uint32_t place = to_here - own;
    count = 0;
    TETRAD_UNROLL
    for (uint32_t w = 0; w < kStreamWarps; ++w) {
      place += w < warp() ? passes_of_warps[w] : 0;
      count += passes_of_warps[w];
    }
    for (uint32_t done = 0; done < active.num_pairs; done += kPassTokens) {
      memory[place++] = {active.expert, active.first_pair + done,
                         smaller_of(active.num_pairs - done, kPassTokens), 0};
    }
    sync_block();
  }
};

/// A warp's way through its block's stretch: units are tiles of rows, of pass after pass; of each
/// the segments of one matrix, then of the other, if there are two.
class StripWalk {
 public:
  StripWalk() = default;
  TETRAD_DEVICE StripWalk(const PackedMatrix& first, const char* second, uint64_t expert_stride,
                          const ExpertPasses& passes, uint32_t begin, uint32_t end)
      : passes_(passes.passes),
        tiles_(first.tiles),
        to_second_(second == nullptr ? 0 : second - first.tiles),
        expert_stride_(expert_stride),
        row_tiles_(first.rows / kTileRows),
        segments_(first.cols / kSegmentColumns),
        unit_(begin + warp()),
        end_(end) {
    find();
  }
  TETRAD_DEVICE const char* segment() const { return segment_; }
  TETRAD_DEVICE void next() {
    segment_ += kSegmentBytes;
    if (++part_ < segments_) return;
    part_ = 0;
    if (to_second_ != 0 && !is_second_) {
      is_second_ = true;
      segment_ += to_second_ - static_cast<int64_t>(segments_ * kSegmentBytes);
      return;
    }
    is_second_ = false;
    unit_ += kStreamWarps;
    find();
  }

 private:
  TETRAD_DEVICE void find() {
    segment_ = nullptr;
    if (unit_ >= end_) return;
    const uint32_t pass = unit_ / row_tiles_;
    const uint32_t tile = unit_ - pass * row_tiles_;
    segment_ = tiles_ + passes_[pass].expert * expert_stride_ +
               static_cast<uint64_t>(tile * segments_) * kSegmentBytes;
  }

  const ActiveExpert* passes_ = nullptr;
  const char* tiles_ = nullptr;
  int64_t to_second_ = 0;
  uint64_t expert_stride_ = 0;
  uint32_t row_tiles_ = 1;
  uint32_t segments_ = 1;
  uint32_t unit_ = 0;
  uint32_t end_ = 0;
  uint32_t part_ = 0;
  bool is_second_ = false;
  const char* segment_ = nullptr;
};

/// A lane's part of the tokens of a pass, as multiply_chunk() wants it.
struct PassTokens {
  const uint16_t* x;
  bool is_there;

  TETRAD_DEVICE PassTokens(const char* rows, uint32_t row_bytes, uint32_t num_tokens)
      : x(reinterpret_cast<const uint16_t*>(rows + lane() / 4 * row_bytes) + lane() % 4 * 8),
        is_there(lane() / 4 < num_tokens) {}
};

/// total = W x of a tile of rows: the sums of its segments, in their order.
TETRAD_DEVICE void multiply_strip(WeightStream<StripWalk>& stream, uint32_t num_segments,
                                  const PassTokens& tokens, const uint32_t* table, uint32_t (&b)[4],
                                  float (&total)[Fragment::kD]) {
  TETRAD_NO_UNROLL
  for (uint32_t segment = 0; segment < num_segments; ++segment) {
    float sums[Fragment::kD] = {};
    multiply_segment(stream, tokens.x + segment * kSegmentColumns, tokens.is_there, table, b, sums);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i)
      total[i] = segment == 0 ? sums[i] : total[i] + sums[i];
  }
}

/// What a block has before it may look at what launches before it wrote.
struct StreamingBlock {
  ExpertsStreamLayout at;
  WeightStream<StripWalk> stream;

  TETRAD_DEVICE StreamingBlock(uint32_t cols, const int8_t (&codebook)[16])
      : at(cols), stream(shared_memory() + at.chunks, shared_memory() + at.arrivals) {
    fill_level_table<kWideRowWords>(table(), codebook, kStreamThreads);
  }
  TETRAD_DEVICE static uint32_t* table() { return reinterpret_cast<uint32_t*>(shared_memory()); }
  template <class T>
  TETRAD_DEVICE static T* memory(uint32_t offset) {
    return reinterpret_cast<T*>(shared_memory() + offset);
  }
};

/// By all blocks: `row_of` says where a pair's halves are, in activation_offset order; `finish`
/// gets a tile's sums for the pairs of a pass: of w and of the other matrix, or where there is none
/// nothing and those of w.
template <class RowOf, class Finish>
TETRAD_DEVICE void stream_experts(const PackedMatrix& w, const char* second, uint64_t expert_stride,
                                  const ExpertLists& lists, StreamingBlock& block,
                                  const RowOf& row_of, const Finish& finish) {
  const ExpertsStreamLayout& at = block.at;
  const ExpertPasses passes(lists, block.memory<ActiveExpert>(at.passes),
                            block.memory<uint32_t>(at.passes_of_warps));
  auto* pairs = block.memory<uint32_t>(at.pairs);
  char* rows = block.memory<char>(at.x);
  const uint32_t row_tiles = w.rows / kTileRows;
  const uint32_t num_segments = w.cols / kSegmentColumns;
  const uint32_t num_strips = second == nullptr ? 1 : 2;
  const uint32_t num_units = passes.count * row_tiles;
  const auto begin_of = [&](uint32_t x) TETRAD_INLINE {
    return static_cast<uint32_t>(static_cast<uint64_t>(num_units) * x / grid_x());
  };
  const uint32_t begin = begin_of(block_x());
  const uint32_t end = begin_of(block_x() + 1);
  // Few tokens' experts were chosen where the weights come.
  leave_to_copies();
  sync_block();
  block.stream.start(StripWalk(w, second, expert_stride, passes, begin, end));

  uint32_t b[4] = {};
  uint32_t unit = begin + warp();
  for (uint32_t first = begin; first < end;) {
    const ActiveExpert pass = passes.passes[first / row_tiles];
    const uint32_t end_of_pass = smaller_of((first / row_tiles + 1) * row_tiles, end);
    if (thread_index() < pass.num_pairs)
      pairs[thread_index()] = lists.sorted_pairs[pass.first_pair + thread_index()];
    sync_block();
    for (uint32_t token = 0; token < pass.num_pairs; ++token) {
      const auto* from = reinterpret_cast<const Words4*>(row_of(pairs[token]));
      auto* to = reinterpret_cast<uint32_t*>(rows + token * at.row_bytes);
      for (uint32_t piece = thread_index(); piece < w.cols / 8; piece += kStreamThreads)
        store_piece(to, piece, from[piece]);
    }
    sync_block();
    const PassTokens tokens(rows, at.row_bytes, pass.num_pairs);
    for (; unit < end_of_pass; unit += kStreamWarps) {
      // One loop for both matrices: code comes from memory, too.
      float before[Fragment::kD] = {};
      float sums[Fragment::kD] = {};
      TETRAD_NO_UNROLL
      for (uint32_t strip = 0; strip < num_strips; ++strip) {
        TETRAD_UNROLL
        for (uint32_t i = 0; i < Fragment::kD; ++i)
          before[i] = sums[i];
        multiply_strip(block.stream, num_segments, tokens, block.table(), b, sums);
      }
      const uint32_t first_row = unit % row_tiles * kTileRows;
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i) {
        const uint32_t token = Fragment::d_token(lane(), i);
        if (token < pass.num_pairs)
          finish(pairs[token], first_row + Fragment::d_row(lane(), i), before[i], sums[i]);
      }
    }
    sync_block();
    first = end_of_pass;
  }
}

TETRAD_LONE_KERNEL(experts_up_stream, ExpertsUpArgs, 384) {
  StreamingBlock block(args.w1.cols, args.codebook);
  const bool is_few = args.choice.num_tokens <= kFewTokens;
  const float bias = is_few ? bias_of_thread(args.choice) : 0;
  wait_for_launches_before();
  let_next_launch_begin();
  ExpertLists lists = args.lists;
  if (is_few) {
    // What is chosen stands where the weights come: only the passes are kept.
    auto& choice = *block.memory<ChoiceMemory>(block.at.chunks);
    lists = choose_few<kFewTokens>(args.choice, bias, choice, args.lists, block_x() == 0);
    auto* pairs = block.memory<uint32_t>(block.at.few_pairs);
    if (thread_index() < kMaxFewPairs) pairs[thread_index()] = choice.pairs[thread_index()];
    lists.sorted_pairs = pairs;
  }
  stream_experts(
      args.w1, args.w3.tiles, args.expert_stride, lists, block,
      [&](uint32_t pair) TETRAD_INLINE {
        return args.x +
               static_cast<uint64_t>(pair / args.choice.num_experts_per_tok) * args.x_stride;
      },
      [&](uint32_t pair, uint32_t row, float gate, float up) TETRAD_INLINE {
        args.hidden[static_cast<uint64_t>(pair) * args.hidden_stride +
                    activation_offset<Fragment>(row)] =
            swiglu_to_half(gate * args.w1.scale, up * args.w3.scale);
      });
}

/// What the experts gave each pair, for combine_experts.
TETRAD_LONE_KERNEL(experts_down_stream, ExpertsDownArgs, 384) {
  StreamingBlock block(args.w2.cols, args.codebook);
  wait_for_launches_before();
  let_next_launch_begin();
  stream_experts(
      args.w2, nullptr, args.expert_stride, args.lists, block,
      [&](uint32_t pair)
          TETRAD_INLINE { return args.hidden + static_cast<uint64_t>(pair) * args.hidden_stride; },
      [&](uint32_t pair, uint32_t row, float, float product) TETRAD_INLINE {
        args.products[static_cast<uint64_t>(pair) * args.w2.rows + row] =
            product * (args.w2.scale / kHiddenScale);
      });
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
