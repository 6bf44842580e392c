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

#include "kernels/gpu/choose_experts.h"
#include "kernels/gpu/group_by_expert.h"
#include "kernels/gpu/swiglu.h"
#include "kernels/gpu/told_words.h"
#include "kernels/gpu/weight_stream.h"

namespace tetrad::gpu {

static_assert(kStreamThreads >= kChoiceThreads && kStreamThreads == 384);  // as the kernel has it

/// Tokens from which these are faster than decode_experts.h, of which two blocks fit a
/// multiprocessor.
inline constexpr uint32_t kLeastStreamedTokens = 2;
/// Tokens of an expert that a pass over its weights takes: a tile of the fragment.
inline constexpr uint32_t kPassTokens = 8;
/// Pairs of tokens and experts of a launch, at most: there is room for their passes.
inline constexpr uint32_t kMaxStreamedPairs = 2048;

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

/// w1 and w3, or w2, of some tiles of rows, and which of these a block takes. It stands in shared
/// memory, since a choice between arguments would put these into memory.
struct StreamedPart {
  const char* tiles[2];  // of expert 0
  uint64_t expert_stride;
  uint32_t num_matrices;
  uint32_t row_tiles;  // of an expert
  uint32_t num_segments;
  uint32_t begin;  // of the block's: tiles of rows of one expert after the other, pass by pass
  uint32_t end;
};
/// In their order: w1 and w3 of the first tiles and of all others, then w2 likewise. What w2's
/// first tiles need comes of the first part, and so is there long before it is looked for.
inline constexpr uint32_t kStreamedParts = 4;

/// Where what lies in a block's shared memory, in bytes.
struct ExpertsStreamLayout {
  static constexpr uint32_t kMaxPasses = kMaxExperts + kMaxStreamedPairs / kPassTokens;

  uint32_t arrivals = kWideTableBytes;
  uint32_t chunks = arrivals + kArrivalBytes;
  uint32_t passes = chunks + kStreamChunkBytes;
  uint32_t passes_of_warps = passes + kMaxPasses * sizeof(ActiveExpert);
  uint32_t pairs = passes_of_warps + 16 * 4;
  uint32_t parts = pairs + kMaxStreamedPairs * 4;
  uint32_t rows = parts + kStreamedParts * sizeof(StreamedPart);
  uint32_t end;

  TETRAD_DEVICE constexpr ExpertsStreamLayout(uint32_t up_cols, uint32_t down_cols)
      : end(rows + kPassTokens * row_bytes(up_cols > down_cols ? up_cols : down_cols)) {}
  /// The second of two rows is where the first leaves banks.
  TETRAD_DEVICE static constexpr uint32_t row_bytes(uint32_t cols) { return cols * 2 + 64; }
  /// Rows that there is room for.
  TETRAD_DEVICE constexpr uint32_t num_rows(uint32_t cols) const {
    return (end - rows) / row_bytes(cols);
  }
};
static_assert(sizeof(ChoiceMemory) <= kStreamChunkBytes);

namespace TETRAD_MACHINE {

/// Passes over experts' weights, each with up to kPassTokens of the expert's pairs.
struct ExpertPasses {
  const ActiveExpert* passes;
  uint32_t count;

  /// By all threads of the block; a sync_block() must follow. `is_few`: of up to kFewTokens tokens.
  TETRAD_DEVICE ExpertPasses(const ExpertLists& lists, bool is_few, ActiveExpert* memory,
                             uint32_t* passes_of_warps)
      : passes(memory), count(*lists.num_active) {
    static_assert(kFewTokens <= kPassTokens);
    const uint32_t mine = thread_index();
    ActiveExpert active;
    if (mine < count) {
      const Words4 words = *reinterpret_cast<const Words4*>(lists.active + mine);
      active = {words.word[0], words.word[1], words.word[2], 0};
    }
    if (is_few) {
      if (mine < count) memory[mine] = active;
      return;
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
  }
};

/// The tiles of rows that a warp takes of its block's: every kStreamWarps-th, part after part.
struct StreamedUnit {
  const StreamedPart* part = nullptr;
  const StreamedPart* end_of_parts = nullptr;
  uint32_t unit = 0;

  StreamedUnit() = default;
  TETRAD_DEVICE explicit StreamedUnit(const StreamedPart (&parts)[kStreamedParts])
      : part(parts), end_of_parts(parts + kStreamedParts), unit(parts[0].begin + warp()) {
    find();
  }
  TETRAD_DEVICE bool is_done() const { return part == end_of_parts; }
  TETRAD_DEVICE void next() {
    unit += kStreamWarps;
    find();
  }
  TETRAD_DEVICE uint32_t pass() const { return unit / part->row_tiles; }

 private:
  TETRAD_DEVICE void find() {
    TETRAD_NO_UNROLL
    while (unit >= part->end) {
      const uint32_t beyond = unit - part->end;
      if (++part == end_of_parts) return;
      unit = part->begin + beyond;
    }
  }
};

/// A warp's way through its segments: of each tile of rows those of one matrix, then those of the
/// other, if there are two.
class StreamWalk {
 public:
  StreamWalk() = default;
  TETRAD_DEVICE StreamWalk(const StreamedPart (&parts)[kStreamedParts], const ExpertPasses& passes)
      : at_(parts), passes_(passes.passes) {
    find();
  }
  TETRAD_DEVICE const char* segment() const { return segment_; }
  TETRAD_DEVICE void next() {
    segment_ += kSegmentBytes;
    if (--left_ > 0) return;
    if (++matrix_ == at_.part->num_matrices) {
      matrix_ = 0;
      at_.next();
    }
    find();
  }

 private:
  TETRAD_DEVICE void find() {
    segment_ = nullptr;
    if (at_.is_done()) return;
    const StreamedPart& part = *at_.part;
    const uint32_t pass = at_.pass();
    left_ = part.num_segments;
    segment_ = part.tiles[matrix_] + passes_[pass].expert * part.expert_stride +
               static_cast<uint64_t>((at_.unit - pass * part.row_tiles) * left_) * kSegmentBytes;
  }

  StreamedUnit at_;
  const ActiveExpert* passes_ = nullptr;
  uint32_t matrix_ = 0;
  uint32_t left_ = 0;  // segments of the tile
  const char* segment_ = nullptr;
};

/// A pair and its token.
class StreamedPair {
 public:
  TETRAD_DEVICE StreamedPair(uint32_t pair, uint32_t pairs_per_token)
      : both_(pair / pairs_per_token << 16 | pair) {}
  TETRAD_DEVICE uint32_t pair() const { return both_ & 0xFFFFu; }
  TETRAD_DEVICE uint32_t token() const { return both_ >> 16; }

 private:
  uint32_t both_;
};

/// The columns of some pairs in shared memory: of those from first_pair on among the sorted ones,
/// or of each token once.
struct StreamedRows {
  char* rows;
  uint32_t row_bytes;
  uint32_t first_pair;
  bool are_tokens;
  TETRAD_DEVICE char* at(uint32_t row) const { return rows + row * row_bytes; }
};

/// The tokens of a pass, and a lane's part of them, as multiply_chunk() wants it.
struct PassTokens {
  const StreamedPair* pairs;
  uint32_t count;
  bool is_there;
  const uint16_t* x;

  /// `sorted_pairs`: all of them.
  TETRAD_DEVICE PassTokens(const StreamedRows& rows, const StreamedPair* sorted_pairs,
                           const ActiveExpert& pass)
      : pairs(sorted_pairs + pass.first_pair),
        count(pass.num_pairs),
        is_there(lane() / 4 < pass.num_pairs) {
    const uint32_t token = is_there ? lane() / 4 : 0;
    const uint32_t row =
        rows.are_tokens ? pairs[token].token() : pass.first_pair + token - rows.first_pair;
    x = reinterpret_cast<const uint16_t*>(rows.at(row)) + lane() % 4 * 8;
  }
};

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

/// Rows in activation_offset order on their way to shared memory, by all threads of a block: a
/// thread brings kAtOnce pieces of 16 bytes at a time, each of another stretch of a row.
class RowPieces {
 public:
  TETRAD_DEVICE RowPieces(uint32_t num_rows, uint32_t cols)
      : num_rows_(num_rows), stretches_(cols / (8 * kStretch)) {
    row_ = 0;
    stretch_ = thread_index() / kStretch;
  }
  /// Whether some thread has more.
  TETRAD_DEVICE bool has_more() const {
    return row_ * stretches_ + stretch_ - thread_index() / kStretch < num_rows_ * stretches_;
  }
  /// Asks for the next: row_at(row) is where a row lies.
  template <class RowAt>
  TETRAD_DEVICE void ask(const RowAt& row_at) {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kAtOnce; ++i) {
      TETRAD_NO_UNROLL
      for (; stretch_ >= stretches_; ++row_)
        stretch_ -= stretches_;
      at_[i] = {row_, stretch_ * kStretch + thread_index() % kStretch};
      words_[i] = look(row_at, i);
      stretch_ += kStreamThreads / kStretch;
    }
  }
  template <class RowAt>
  TETRAD_DEVICE void wait_until_told(const RowAt& row_at) {
    wait_for_told(words_, [&](uint32_t i) TETRAD_INLINE { return look(row_at, i); });
  }
  TETRAD_DEVICE void put(const StreamedRows& rows) const {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kAtOnce; ++i) {
      if (at_[i].row < num_rows_)
        store_piece(reinterpret_cast<uint32_t*>(rows.at(at_[i].row)), at_[i].piece, words_[i]);
    }
  }

 private:
  static constexpr uint32_t kAtOnce = 8;
  static constexpr uint32_t kStretch = kSegmentColumns / 8;
  static_assert(kStreamThreads % kStretch == 0);

  template <class RowAt>
  TETRAD_DEVICE Words4 look(const RowAt& row_at, uint32_t i) const {
    Words4 words = {};
    if (at_[i].row < num_rows_) load_fresh_16(words.word, row_at(at_[i].row) + at_[i].piece * 4);
    return words;
  }

  uint32_t num_rows_;
  uint32_t stretches_;  // of a row
  uint32_t row_;
  uint32_t stretch_;
  struct Place {
    uint32_t row;
    uint32_t piece;
  };
  Place at_[kAtOnce];
  Words4 words_[kAtOnce];
};

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
                          TETRAD_INLINE { return row_of(args_.x, token, args_.x_stride); };
    ExpertLists lists;
    TokenLogits<kFewTokens> logits;
    bool is_first = true;
    TETRAD_NO_UNROLL
    do {
      if (is_few() && is_first) logits.load(args_.choice, 0, args_.choice.num_tokens);
      if (is_few()) few_x.ask(x_of);
      if (is_first) lists = choose(logits);
      is_first = false;
      if (is_few()) few_x.put(rows_of(args_.w1.cols));
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

  /// Of halves, in words.
  TETRAD_DEVICE static const uint32_t* row_of(const void* rows, uint32_t row, uint32_t stride) {
    return static_cast<const uint32_t*>(rows) + static_cast<uint64_t>(row) * (stride / 2);
  }
  TETRAD_DEVICE StreamedRows rows_of(uint32_t cols) const {
    return {memory<char>(at_.rows), at_.row_bytes(cols), 0, is_few()};
  }

  /// To shared memory the columns of the pairs of as many passes as there is room for, of a part's
  /// from its tile `first` on; which tile is the first without.
  TETRAD_DEVICE uint32_t bring_rows(const StreamedPart& part, const ActiveExpert* passes,
                                    uint32_t first, bool is_up, StreamedRows& rows) const {
    const uint32_t cols = part.num_segments * kSegmentColumns;
    rows = rows_of(cols);
    if (is_up && is_few()) return part.end;  // they are there
    rows.are_tokens = false;
    uint32_t pass = first / part.row_tiles;
    const uint32_t last = (part.end - 1) / part.row_tiles;
    const uint32_t room = at_.num_rows(cols);
    rows.first_pair = passes[pass].first_pair;
    uint32_t count = passes[pass].num_pairs;
    for (; pass < last && count + passes[pass + 1].num_pairs <= room; ++pass)
      count += passes[pass + 1].num_pairs;
    const StreamedPair* sorted = pairs() + rows.first_pair;
    const void* x = args_.x;
    const void* hidden = args_.hidden;
    const uint32_t strides[2] = {args_.x_stride, args_.w1.rows};
    const auto row_at = [&](uint32_t row) TETRAD_INLINE {
      const StreamedPair of = sorted[row];
      return row_of(is_up ? x : hidden, is_up ? of.token() : of.pair(),
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
      pieces.put(rows);
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
