#pragma once

// The logits of a step: whole rows, or what was found out about them where they were computed. A
// vocabulary is large, and most tokens are chosen without looking at all of it.

#include <cstdint>
#include <optional>
#include <span>

#include "base/error.h"
#include "kernels/kernels.h"
#include "kernels/likely_token.h"

namespace tetrad {

/// What a row of logits is asked for, so that the right part of it is brought along.
struct LogitsUse {
  /// Every logit will be looked at.
  bool is_whole = true;
  /// If not: above 0 the likeliest tokens matter, and what all weigh at this temperature; at 0 the
  /// best token alone.
  float temperature = 0;
};

/// What is known of a row. Of one that is not all finite, the rest is anything.
struct RowSummary {
  int64_t vocab_size = 0;
  bool is_finite = true;
  float largest = 0;
  int32_t best = 0;  // the lowest id of those with the largest logit
  /// All tokens whose logit is `bound` or more, in the order of their ids; with none the bound may
  /// be infinite.
  float bound = 0;
  std::span<const LikelyToken> likely;
  /// Of exp((logit - largest) / temperature) over all tokens, and by how much it may be wrong.
  double weights = 0;
  double weights_error = 0;
};

/// Where rows of logits are.
class LogitsSource {
 public:
  virtual ~LogitsSource() = default;
  /// Nothing where the row itself is what there is.
  virtual std::optional<RowSummary> summary(int64_t row) const = 0;
  /// Brings the row if it is not there yet. Errors: what a device says.
  virtual Result<std::span<const float>> row(int64_t row) = 0;
};

/// Some rows of a step, valid until the next.
class StepLogits {
 public:
  StepLogits() = default;
  /// Rows that are there.
  explicit StepLogits(Activations rows) : rows_(rows), count_(rows.rows) {}
  /// The first `count` rows of a source, which must outlive this.
  StepLogits(LogitsSource& source, int64_t count) : source_(&source), count_(count) {}

  int64_t num_rows() const { return count_; }
  StepLogits part(int64_t first, int64_t count) const {
    StepLogits part = *this;
    part.first_ += first;
    part.count_ = count;
    return part;
  }

  std::optional<RowSummary> summary(int64_t row) const {
    return source_ == nullptr ? std::nullopt : source_->summary(first_ + row);
  }
  Result<std::span<const float>> row(int64_t row) const {
    if (source_ != nullptr) return source_->row(first_ + row);
    return rows_.row_span(first_ + row);
  }

 private:
  Activations rows_;
  LogitsSource* source_ = nullptr;
  int64_t first_ = 0;
  int64_t count_ = 0;
};

}  // namespace tetrad
