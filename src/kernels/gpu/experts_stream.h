#pragma once

// The experts of a few tokens, of whom each expert has a few, as one launch with the bits of
// decode_experts.h: w1 and w3 with SwiGLU, then w2; combine_experts adds up the picks. Weights come
// as in experts_of_one.h, by copies that run by themselves (weight_stream.h). A block a
// multiprocessor, all at work together: each has two stretches of the tiles of rows of all experts'
// w1 and w3, one expert after the other, and then two of w2 (streamed_part()), and each warp every
// kStreamWarps-th tile of these, with all its columns, so that nothing is added up between warps.
// Blocks tell each other hidden values (told_words.h); w2's first weights come meanwhile.
//
// What a tile of 16 x 64 costs a multiprocessor's shared memory: 16 wavefronts of levels, 8 of
// codes and scales, and 2 for each two tokens. Memory brings one in 33 cycles.

#include "kernels/gpu/experts_stream_rows.h"
#include "kernels/gpu/swiglu.h"

namespace tetrad::gpu {

static_assert(kStreamThreads == 384);  // as the kernel has it

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
        layout_(args.w1.cols, args.w2.cols),
        stream_(shared_memory() + layout_.chunks, shared_memory() + layout_.arrivals) {
    fill_level_table<kWideRowWords>(table(), args.codebook, kStreamThreads);
    // By a warp that chooses nobody's experts.
    static_assert(kFewTokens < kStreamWarps && kMaxExperts / 32 < kStreamWarps);
    if (warp() == kStreamWarps - 1)
      WeightStream<StreamWalk>::init(shared_memory() + layout_.arrivals);
    if (is_few()) bias_ = bias_of_thread(args.choice);
  }

  TETRAD_DEVICE void run() {
    ExpertLists lists = args_.lists;
    if (is_few()) lists = choose_and_bring_x();
    const ExpertPasses passes(lists, is_few(), memory<ActiveExpert>(layout_.passes),
                              memory<uint32_t>(layout_.passes_of_warps));
    TETRAD_NO_UNROLL
    for (uint32_t i = thread_index(); i < args_.choice.num_tokens * top_k(); i += kStreamThreads)
      pairs()[i] = StreamedPair(lists.sorted_pairs[i], top_k());
    auto& parts = *memory<StreamedPart[kStreamedParts]>(layout_.parts);
    if (thread_index() < kStreamedParts)
      parts[thread_index()] =
          streamed_part(args_, thread_index(), passes.count, block_x(), grid_x());
    // Few tokens' experts were chosen where the weights come.
    leave_to_copies();
    sync_block();
    stream_.start(StreamWalk(parts, passes), [] {});

    StreamedUnit unit(parts);
    uint32_t b[4] = {};
    // One loop for all matrices: code comes from memory, too.
    TETRAD_NO_UNROLL
    for (uint32_t index = 0; index < kStreamedParts; ++index) {
      const StreamedPart& part = parts[index];
      // Not asked of the part: of what stands in shared memory the assembler does not know that all
      // lanes have the same, and then it looks levels up with an addition more each.
      const bool is_up = index < kStreamedParts / 2;
      TETRAD_NO_UNROLL
      for (uint32_t first = part.begin; first < part.end;) {
        StreamedRows rows = rows_of_tokens(part);
        if (!is_up || !is_few()) {
          rows = rows_from(part, passes.passes, first);
          bring(part, rows, is_up);
        }
        first = rows.end;
        TETRAD_NO_UNROLL
        for (; unit.part == &part && unit.unit < first; unit.next()) {
          const PassTokens tokens(rows, pairs(), passes.passes[unit.pass()]);
          multiply_unit(part, unit.first_row(), is_up, tokens, b);
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
  TETRAD_DEVICE StreamedPair* pairs() const { return memory<StreamedPair>(layout_.pairs); }

  /// Of few tokens, whose x is on its way meanwhile and stays. Logits are asked for first.
  TETRAD_DEVICE ExpertLists choose_and_bring_x() const {
    TokenLogits<kFewTokens> logits;
    logits.load(args_.choice, 0, args_.choice.num_tokens);
    const RowPieces x(args_.choice.num_tokens, args_.w1.cols / kSegmentColumns,
                      [&](uint32_t token)
                          TETRAD_INLINE { return row_of_halves(args_.x, token, args_.x_stride); });
    // What is chosen stands where the weights come.
    const ExpertLists lists =
        choose_few(args_.choice, bias_, logits, *memory<ChoiceMemory>(layout_.chunks), args_.lists,
                   block_x() == 0);
    x.put({.rows = memory<char>(layout_.rows), .row_bytes = layout_.row_bytes(args_.w1.cols)});
    return lists;
  }

  TETRAD_DEVICE StreamedRows rows_of_tokens(const StreamedPart& part) const {
    return {.rows = memory<char>(layout_.rows),
            .row_bytes = layout_.row_bytes(part.num_segments * kSegmentColumns),
            .are_tokens = true,
            .first_pair = 0,
            .count = args_.choice.num_tokens,
            .end = part.end};
  }
  /// Of the pairs of as many passes as there is room for, from that of the part's tile `first` on.
  TETRAD_DEVICE StreamedRows rows_from(const StreamedPart& part, const ActiveExpert* passes,
                                       uint32_t first) const {
    StreamedRows rows = rows_of_tokens(part);
    rows.are_tokens = false;
    const uint32_t room = smaller_of((layout_.end - layout_.rows) / rows.row_bytes,
                                     kSegmentsAtOnce / part.num_segments);
    const uint32_t last = (part.end - 1) / part.row_tiles;
    uint32_t pass = first / part.row_tiles;
    rows.first_pair = passes[pass].first_pair;
    rows.count = passes[pass].num_pairs;
    for (; pass < last && rows.count + passes[pass + 1].num_pairs <= room; ++pass)
      rows.count += passes[pass + 1].num_pairs;
    rows.end = smaller_of(part.end, (pass + 1) * part.row_tiles);
    return rows;
  }
  /// To shared memory, by all threads; of w2 as soon as they are told.
  TETRAD_DEVICE void bring(const StreamedPart& part, const StreamedRows& rows, bool is_up) const {
    const StreamedPair* sorted = pairs() + rows.first_pair;
    const auto row_at = [&](uint32_t row) TETRAD_INLINE {
      const StreamedPair of = sorted[row];
      return row_of_halves(part.columns, is_up ? of.token() : of.pair(), part.columns_stride);
    };
    RowPieces pieces(rows.count, part.num_segments, row_at);
    if (!is_up) pieces.wait_until_told(row_at);
    // What was there before has been read.
    sync_block();
    pieces.put(rows);
    sync_block();
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
    return args_.hidden + static_cast<uint64_t>(of.pair()) * (args_.hidden_stride / 2);
  }
  /// SwiGLU of a tile of rows. A lane gets two rows that follow each other, a word, of one token.
  TETRAD_DEVICE void tell_hidden(const PassTokens& tokens, uint32_t first_row,
                                 const float (&gate)[Fragment::kD],
                                 const float (&up)[Fragment::kD]) const {
    const auto hidden = [&](uint32_t i) TETRAD_INLINE -> uint32_t {
      return swiglu_to_half(gate[i] * args_.w1.scale, up[i] * args_.w3.scale);
    };
    uint32_t of_rows[Fragment::kD / 2];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < Fragment::kD / 2; ++i)
      of_rows[i] = hidden(2 * i) | hidden(2 * i + 1) << 16;
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
  ExpertsStreamLayout layout_;
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
