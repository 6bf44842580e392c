#pragma once

// The logits of a step that many ranks computed: what each found out about its part of the
// vocabulary, put together; whole rows only where they are asked for.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "kernels/likely_token.h"
#include "model/rank_group.h"
#include "model/step_logits.h"
#include "parallel/communicator.h"

namespace tetrad {

/// One rank's end: all make the same calls with the same `uses`.
class RankLogits {
 public:
  /// Both must outlive this.
  RankLogits(RankGroup& group, parallel::Communicator& ranks, int64_t vocab_size)
      : group_(group), ranks_(ranks), vocab_size_(vocab_size) {}

  /// Brings together what `uses` ask for: of the rows of `part`, [rows, this rank's part of the
  /// vocabulary], which stays as it is until the next exchange. uses: one for each row, or none for
  /// whole rows. Errors: the communicator's.
  Result<void> exchange(Activations part, std::span<const LogitsUse> uses);
  /// Brings one row of the last exchange whole. Errors: corrupt_data, of a row that there is not.
  Result<void> gather_row(int64_t row);

  // Of the last exchange.

  int64_t num_rows() const { return part_.rows; }
  /// Whether the row is here, whole.
  bool is_here(int64_t row) const {
    return are_all_here_ || !whole_[static_cast<size_t>(row)].empty();
  }
  /// Of a row that is here.
  std::span<const float> row(int64_t row) const;
  /// All rows, where each was asked for whole: [num_rows(), vocab_size].
  Activations all_rows() const { return all_rows_; }
  /// Of a row that is not whole.
  RowSummary summary(int64_t row) const { return summaries_[static_cast<size_t>(row)]; }

 private:
  /// What a rank says about its part of a row.
  struct PartOfRow {
    float largest = 0;
    uint32_t best = 0;
    uint32_t is_finite = 1;
    uint32_t num_tokens = 0;  // of this part
    double weights = 0;       // relative to its largest
  };
  /// The likeliest of its part. A few more than are promised, since those that are as likely as the
  /// last cannot be told from what is missing.
  static constexpr size_t kLikelyOfPart = kFewestLikelyTokens + 8;

  void look_at(std::span<const float> part, const LogitsUse& use, PartOfRow& found);
  Result<void> exchange_summaries(std::span<const LogitsUse> uses);
  /// list: the number of the row's list, if it has one.
  void merge_row(size_t row, const LogitsUse& use, size_t list);
  Result<void> gather_rows(std::span<const size_t> rows);

  RankGroup& group_;
  parallel::Communicator& ranks_;
  int64_t vocab_size_;

  // Of the last exchange.
  Activations part_;
  bool are_all_here_ = false;
  Activations all_rows_;
  std::vector<RowSummary> summaries_;             // of each row; nothing in those that are whole
  std::vector<std::vector<LikelyToken>> likely_;  // of each row
  std::vector<std::vector<float>> whole_;         // of each row; empty: not here
  // Kept for their memory.
  std::vector<float> compact_;
  std::vector<double> block_sums_;
  std::vector<float> block_maxima_;
  std::vector<PartOfRow> sent_parts_, parts_;    // parts_: [ranks, rows]
  std::vector<LikelyToken> sent_lists_, lists_;  // lists_: [ranks, rows with a list, kLikelyOfPart]
  size_t num_lists_ = 0;
};

}  // namespace tetrad
