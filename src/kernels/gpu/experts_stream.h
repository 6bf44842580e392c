#pragma once

// The experts of a few tokens, of whom each expert has a few, as one launch with the bits of
// decode_experts.h: w1 and w3 with SwiGLU, then w2; combine_experts adds up the picks. Weights come
// as in experts_of_one.h, by copies that run by themselves (weight_stream.h). A block a
// multiprocessor, all at work together: each has a stretch of the tiles of rows of all experts'
// w1 and w3, one expert after the other, and then such a stretch of w2, and each warp every
// kStreamWarps-th of these, with all their columns, so that nothing is added up between warps.
// Blocks tell each other hidden values (told_words.h); w2's first weights come meanwhile.
//
// What a tile of 16 x 64 costs a multiprocessor's shared memory: 16 wavefronts of levels, 8 of
// codes and scales, and 2 for each two tokens. Memory brings one in 33 cycles.

#include "kernels/gpu/stream_rows.h"
#include "kernels/gpu/swiglu.h"

namespace tetrad::gpu {

static_assert(kStreamThreads == 384);  // as the kernel has it

/// Tokens from which these are faster than decode_experts.h, of which two blocks fit a
/// multiprocessor.
inline constexpr uint32_t kLeastStreamedTokens = 2;

/// products[pair] = w2 (silu(w1 x) * (w3 x)) of the pair's expert and token.
struct ExpertsStreamArgs {
  PackedMatrix w1;  // of expert 0: [intermediate_size, hidden_size], of codes; both sizes are whole
  PackedMatrix w3;  // segments. Expert e's tiles follow at e * up_stride bytes
  PackedMatrix w2;  // of expert 0: [hidden_size, intermediate_size], the next at down_stride
  uint64_t up_stride = 0;
  uint64_t down_stride = 0;
  int8_t codebook[16] = {};
  const uint16_t* x = nullptr;  // [T, x_stride] halves in activation_offset order
  uint32_t x_stride = 0;
  ExpertChoice choice;  // made here for up to kFewTokens tokens
  ExpertLists lists;    // written for these, read for more
  // Words of two halves that are kNotYet before: [pairs, intermediate_size / 2], in
  // activation_offset order.
  uint32_t* hidden = nullptr;
  float* products = nullptr;  // [pairs, hidden_size]

  TETRAD_DEVICE uint32_t num_hidden_words() const {
    return choice.num_tokens * choice.num_experts_per_tok * w1.rows / 2;
  }
};

namespace TETRAD_MACHINE {

/// total = W x of a tile of rows: the sums of its segments, in their order.
TETRAD_DEVICE void multiply_strip(WeightStream<StreamWalk>& stream, uint32_t num_segments,
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

/// What a block has in shared memory, and its weights on their way.
class StreamingBlock {
 public:
  /// Before it may look at what launches before it wrote.
  TETRAD_DEVICE explicit StreamingBlock(const ExpertsStreamArgs& args)
      : args_(args),
        at_(args.w1.cols, args.w2.cols),
        stream_(shared_memory() + at_.chunks, shared_memory() + at_.arrivals) {
    fill_level_table<kWideRowWords>(table(), args.codebook, kStreamThreads);
    if (is_few()) bias_ = bias_of_thread(args.choice);
  }

  TETRAD_DEVICE void run() {
    // Few tokens' x are on their way while their experts are chosen.
    RowPieces few_x(args_.choice.num_tokens, args_.w1.cols);
    const auto x_of = [&](uint32_t token)
                          TETRAD_INLINE { return row_of_halves(args_.x, token, args_.x_stride); };
    ExpertLists lists;
    TokenLogits<kFewTokens> logits;
    bool is_first = true;
    TETRAD_NO_UNROLL
    do {
      if (is_few() && is_first) logits.load(args_.choice, 0, args_.choice.num_tokens);
      if (is_few()) few_x.ask(x_of);
      if (is_first) lists = choose(logits);
      is_first = false;
      if (is_few()) few_x.put(memory<char>(at_.rows), at_.row_bytes(args_.w1.cols));
    } while (is_few() && few_x.has_more());
    const ExpertPasses passes(lists, is_few(), memory<ActiveExpert>(at_.passes),
                              memory<uint32_t>(at_.passes_of_warps));
    TETRAD_NO_UNROLL
    for (uint32_t i = thread_index(); i < args_.choice.num_tokens * top_k(); i += kStreamThreads)
      pairs()[i] = StreamedPair(lists.sorted_pairs[i], top_k());
    auto& parts = *memory<StreamedPart[kStreamedParts]>(at_.parts);
    if (thread_index() < kStreamedParts) parts[thread_index()] = part(thread_index(), passes.count);
    // Few tokens' experts were chosen where the weights come.
    leave_to_copies();
    sync_block();
    stream_.start(StreamWalk(parts, passes));

    StreamedUnit at(parts);
    uint32_t b[4] = {};
    // One loop for all matrices: code comes from memory, too.
    TETRAD_NO_UNROLL
    for (uint32_t index = 0; index < kStreamedParts; ++index) {
      const StreamedPart& part = parts[index];
      const bool is_up = index < kStreamedParts / 2;
      TETRAD_NO_UNROLL
      for (uint32_t first = part.begin; first < part.end;) {
        StreamedRows rows;
        first = bring_rows(part, passes.passes, first, is_up, rows);
        TETRAD_NO_UNROLL
        for (; at.part == &part && at.unit < first; at.next()) {
          const PassTokens tokens(rows, pairs(), passes.passes[at.pass()]);
          multiply_unit(part, at.unit % part.row_tiles * kTileRows, is_up, tokens, b);
        }
      }
    }
  }

 private:
  TETRAD_DEVICE bool is_few() const { return args_.choice.num_tokens <= kFewTokens; }
  TETRAD_DEVICE uint32_t top_k() const { return args_.choice.num_experts_per_tok; }
  TETRAD_DEVICE static uint32_t* table() { return reinterpret_cast<uint32_t*>(shared_memory()); }
  template <class T>
  TETRAD_DEVICE static T* memory(uint32_t offset) {
    return reinterpret_cast<T*>(shared_memory() + offset);
  }
  TETRAD_DEVICE StreamedPair* pairs() const { return memory<StreamedPair>(at_.pairs); }

  TETRAD_DEVICE ExpertLists choose(const TokenLogits<kFewTokens>& logits) const {
    if (!is_few()) return args_.lists;
    // What is chosen stands where the weights come.
    return choose_few(args_.choice, bias_, logits, *memory<ChoiceMemory>(at_.chunks), args_.lists,
                      block_x() == 0);
  }

  TETRAD_DEVICE StreamedPart part(uint32_t index, uint32_t num_passes) const {
    const bool is_up = index < kStreamedParts / 2;
    // Both before one is taken.
    const PackedMatrix w1 = args_.w1;
    const PackedMatrix w2 = args_.w2;
    const uint64_t strides[2] = {args_.up_stride, args_.down_stride};
    const uint32_t up_tiles = w1.rows / kTileRows;
    const uint32_t down_tiles = w2.rows / kTileRows;
    // A tile for each warp of all blocks, or several, so that a block's end together.
    const uint32_t round = grid_x() * kStreamWarps;
    const uint32_t first_up = num_passes * up_tiles < round ? 0 : round;
    const uint32_t first_down = first_up / up_tiles * down_tiles / round * round;
    const uint32_t row_tiles = is_up ? up_tiles : down_tiles;
    const uint32_t first = is_up ? first_up : first_down;
    const uint32_t begin = index % 2 == 0 ? 0 : first;
    const uint32_t count = (index % 2 == 0 ? first : num_passes * row_tiles) - begin;
    return {.tiles = {is_up ? w1.tiles : w2.tiles, args_.w3.tiles},
            .expert_stride = is_up ? strides[0] : strides[1],
            .num_matrices = is_up ? 2u : 1u,
            .row_tiles = row_tiles,
            .num_segments = (is_up ? w1.cols : w2.cols) / kSegmentColumns,
            .begin = begin + count * block_x() / grid_x(),
            .end = begin + count * (block_x() + 1) / grid_x()};
  }

  /// To shared memory the columns of the pairs of as many passes as there is room for, of a part's
  /// from its tile `first` on; which tile is the first without.
  TETRAD_DEVICE uint32_t bring_rows(const StreamedPart& part, const ActiveExpert* passes,
                                    uint32_t first, bool is_up, StreamedRows& rows) const {
    const uint32_t cols = part.num_segments * kSegmentColumns;
    rows = {.rows = memory<char>(at_.rows),
            .row_bytes = at_.row_bytes(cols),
            .are_tokens = is_up && is_few(),
            .first_pair_row = 0};
    if (rows.are_tokens) return part.end;  // they are there
    uint32_t pass = first / part.row_tiles;
    const uint32_t last = (part.end - 1) / part.row_tiles;
    const uint32_t room = (at_.end - at_.rows) / rows.row_bytes;
    const uint32_t first_pair = passes[pass].first_pair;
    rows.first_pair_row = 0 - first_pair;
    uint32_t count = passes[pass].num_pairs;
    for (; pass < last && count + passes[pass + 1].num_pairs <= room; ++pass)
      count += passes[pass + 1].num_pairs;
    const StreamedPair* sorted = pairs() + first_pair;
    const void* x = args_.x;
    const void* hidden = args_.hidden;
    const uint32_t strides[2] = {args_.x_stride, args_.w1.rows};
    const auto row_at = [&](uint32_t row) TETRAD_INLINE {
      const StreamedPair of = sorted[row];
      return row_of_halves(is_up ? x : hidden, is_up ? of.token() : of.pair(),
                           is_up ? strides[0] : strides[1]);
    };
    RowPieces pieces(count, cols);
    bool is_first = true;
    TETRAD_NO_UNROLL
    while (pieces.has_more()) {
      pieces.ask(row_at);
      if (!is_up) pieces.wait_until_told(row_at);
      // What was there before has been read.
      if (is_first) sync_block();
      is_first = false;
      pieces.put(rows.rows, rows.row_bytes);
    }
    sync_block();
    return smaller_of(part.end, (pass + 1) * part.row_tiles);
  }

  /// A tile of rows of w1 and w3, or of w2.
  TETRAD_DEVICE void multiply_unit(const StreamedPart& part, uint32_t first_row, bool is_up,
                                   const PassTokens& tokens, uint32_t (&b)[4]) {
    float before[Fragment::kD] = {};
    float sums[Fragment::kD] = {};
    TETRAD_NO_UNROLL
    for (uint32_t matrix = 0; matrix < part.num_matrices; ++matrix) {
      TETRAD_UNROLL
      for (uint32_t i = 0; i < Fragment::kD; ++i)
        before[i] = sums[i];
      multiply_strip(stream_, part.num_segments, tokens, table(), b, sums);
    }
    if (is_up)
      tell_hidden(tokens, first_row, before, sums);
    else
      store_products(tokens, first_row, sums);
  }

  TETRAD_DEVICE uint32_t* hidden_of(const StreamedPair& of) const {
    return args_.hidden + static_cast<uint64_t>(of.pair()) * (args_.w1.rows / 2);
  }
  /// SwiGLU of a tile of rows. A lane gets two rows that follow each other, a word, of one token.
  TETRAD_DEVICE void tell_hidden(const PassTokens& tokens, uint32_t first_row,
                                 const float (&gate)[Fragment::kD],
                                 const float (&up)[Fragment::kD]) const {
    uint32_t of_rows[Fragment::kD / 2];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t value = swiglu_to_half(gate[i] * args_.w1.scale, up[i] * args_.w3.scale);
      of_rows[i / 2] = i % 2 == 0 ? value : of_rows[i / 2] | value << 16;
    }
    uint32_t of_token[Fragment::kB];
    Fragment::as_b(of_token, of_rows);
    const uint32_t token = Fragment::b_token(lane());
    if (token >= tokens.count) return;
    uint32_t* to = hidden_of(tokens.pairs[token]);
    TETRAD_UNROLL
    for (uint32_t j = 0; j < Fragment::kB; ++j)
      store_fresh(
          to + activation_offset<Fragment>(first_row + Fragment::row_of_k(lane(), 2 * j)) / 2,
          of_token[j]);
  }
  TETRAD_DEVICE void store_products(const PassTokens& tokens, uint32_t first_row,
                                    const float (&sums)[Fragment::kD]) const {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD; ++i) {
      const uint32_t token = Fragment::d_token(lane(), i);
      if (token < tokens.count)
        args_.products[static_cast<uint64_t>(tokens.pairs[token].pair()) * args_.w2.rows +
                       first_row + Fragment::d_row(lane(), i)] =
            sums[i] * (args_.w2.scale / kHiddenScale);
    }
  }

  const ExpertsStreamArgs& args_;
  ExpertsStreamLayout at_;
  WeightStream<StreamWalk> stream_;
  float bias_ = 0;
};

TETRAD_LONE_KERNEL(experts_stream, ExpertsStreamArgs, 384) {
  StreamingBlock block(args);
  wait_for_launches_before();
  let_next_launch_begin();
  block.run();
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
