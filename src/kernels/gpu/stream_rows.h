#pragma once

// What the tokens of a few tokens' experts bring to the products: their columns, in shared memory
// (experts_stream.h).

#include "kernels/gpu/experts_stream_walk.h"
#include "kernels/gpu/told_words.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

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

/// The columns of some pairs in shared memory, by their places among the sorted ones, or of each
/// token once.
struct StreamedRows {
  char* rows;
  uint32_t row_bytes;
  bool are_tokens;
  uint32_t first_pair_row;  // of the first of all sorted pairs, if it were there: may be below 0
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
        rows.are_tokens ? pairs[token].token() : rows.first_pair_row + pass.first_pair + token;
    x = reinterpret_cast<const uint16_t*>(rows.at(row)) + lane() % 4 * 8;
  }
};

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
  TETRAD_DEVICE void put(char* rows, uint32_t row_bytes) const {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kAtOnce; ++i) {
      if (at_[i].row < num_rows_)
        store_piece(reinterpret_cast<uint32_t*>(rows + at_[i].row * row_bytes), at_[i].piece,
                    words_[i]);
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

/// Halves that stand row by row, in words.
TETRAD_DEVICE const uint32_t* row_of_halves(const void* rows, uint32_t row, uint32_t stride) {
  return static_cast<const uint32_t*>(rows) + static_cast<uint64_t>(row) * (stride / 2);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
