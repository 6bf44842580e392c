#pragma once

// Means, quantiles and counts of what is compared position by position.

#include <cstdint>
#include <span>
#include <vector>

#include "quant/compare_distributions.h"

namespace tetrad {

/// The mean of values that come one by one, with the standard error it would have if they were
/// independent. Positions of one text are not: the true error is somewhat larger.
class MeanOf {
 public:
  void add(double value);
  int64_t count() const { return count_; }
  /// 0 of nothing.
  double mean() const;
  /// sqrt(variance / count), of the unbiased variance; 0 of fewer than two values.
  double standard_error() const;

 private:
  int64_t count_ = 0;
  double sum_ = 0;
  // Welford's recurrence, which does not subtract large numbers from each other.
  double running_mean_ = 0;
  double squares_ = 0;
};

/// The value at rank fraction * (n - 1) of `ascending`, linear between ranks, as numpy.quantile has
/// it; `fraction` from 0 to 1. 0 of nothing.
double quantile(std::span<const double> ascending, double fraction);

/// What one text, or all of them, have to say about two models.
class TextStatistics {
 public:
  void add(const DistributionDifference& position);

  int64_t num_tokens() const { return kl.count(); }
  /// Of every position, ascending.
  std::vector<double> sorted_kl() const;
  double rms_probability_difference() const;

  MeanOf kl;
  MeanOf nll;
  MeanOf reference_nll;
  MeanOf nll_difference;          // of the pairs, so that what both find hard does not blur it
  MeanOf same_top;                // 1 where both find the same token likeliest, else 0
  MeanOf probability_difference;  // of the true token: q - p
  MeanOf absolute_probability_difference;  // |q - p|

 private:
  MeanOf squared_probability_difference_;
  std::vector<double> kl_values_;
};

}  // namespace tetrad
