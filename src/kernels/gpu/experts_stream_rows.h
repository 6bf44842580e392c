#pragma once

// What the tokens of a few tokens' experts bring to the products: their columns, in shared memory
// (experts_stream.h).

#include "kernels/gpu/experts_stream_walk.h"
#include "kernels/gpu/told_words.h"

namespace tetrad::gpu {
namespace TETRAD_MACHINE {

/// The columns of some pairs in shared memory, in the order of the sorted ones, or of each token
/// once; they serve a part's tiles up to `end`.
struct StreamedRows {
  char* rows;
  uint32_t row_bytes;
  bool are_tokens;
  uint32_t first_pair;
  uint32_t count;
  uint32_t end;
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
        rows.are_tokens ? pairs[token].token() : pass.first_pair - rows.first_pair + token;
    x = reinterpret_cast<const uint16_t*>(rows.at(row)) + lane() % 4 * 8;
  }
};

/// Up to kSegmentsAtOnce segments of rows in activation_offset order on their way to shared memory,
/// by all threads of a block: each brings 16 bytes of some segments.
class RowPieces {
 public:
  /// Asks for them: row_at(row) is where a row lies.
  template <class RowAt>
  TETRAD_DEVICE RowPieces(uint32_t num_rows, uint32_t num_segments, const RowAt& row_at)
      : num_rows_(num_rows) {
    uint32_t row = 0;
    uint32_t segment = thread_index() / kSegmentPieces;
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kPieces; ++i) {
      TETRAD_NO_UNROLL
      for (; segment >= num_segments; ++row)
        segment -= num_segments;
      places_[i] = {row, segment * kSegmentPieces + thread_index() % kSegmentPieces};
      words_[i] = look(row_at, i);
      segment += kStreamThreads / kSegmentPieces;
    }
  }
  template <class RowAt>
  TETRAD_DEVICE void wait_until_told(const RowAt& row_at) {
    wait_for_told(words_, [&](uint32_t i) TETRAD_INLINE { return look(row_at, i); });
  }
  TETRAD_DEVICE void put(const StreamedRows& rows) const {
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kPieces; ++i) {
      if (places_[i].row < num_rows_)
        store_piece(reinterpret_cast<uint32_t*>(rows.at(places_[i].row)), places_[i].piece,
                    words_[i]);
    }
  }

 private:
  static constexpr uint32_t kSegmentPieces = kSegmentColumns / 8;
  static constexpr uint32_t kPieces = kSegmentsAtOnce * kSegmentPieces / kStreamThreads;
  static_assert(kStreamThreads % kSegmentPieces == 0);

  template <class RowAt>
  TETRAD_DEVICE Words4 look(const RowAt& row_at, uint32_t i) const {
    Words4 words = {};
    if (places_[i].row < num_rows_)
      load_fresh_16(words.word, row_at(places_[i].row) + places_[i].piece * 4);
    return words;
  }

  uint32_t num_rows_;
  struct Place {
    uint32_t row;
    uint32_t piece;
  };
  Place places_[kPieces];
  Words4 words_[kPieces];
};

/// Halves that stand row by row, in words.
TETRAD_DEVICE const uint32_t* row_of_halves(const void* rows, uint32_t row, uint32_t stride) {
  return static_cast<const uint32_t*>(rows) + static_cast<uint64_t>(row) * (stride / 2);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
