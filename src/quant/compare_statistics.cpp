#include "quant/compare_statistics.h"

#include <algorithm>
#include <cmath>

namespace tetrad {

void MeanOf::add(double value) {
  ++count_;
  sum_ += value;
  const double before = value - running_mean_;
  running_mean_ += before / static_cast<double>(count_);
  squares_ += before * (value - running_mean_);
}

double MeanOf::mean() const {
  return count_ == 0 ? 0.0 : sum_ / static_cast<double>(count_);
}

double MeanOf::standard_error() const {
  if (count_ < 2) return 0;
  const auto n = static_cast<double>(count_);
  return std::sqrt(squares_ / (n - 1) / n);
}

double quantile(std::span<const double> ascending, double fraction) {
  if (ascending.empty()) return 0;
  const double rank = fraction * static_cast<double>(ascending.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, ascending.size() - 1);
  return ascending[below] +
         (rank - static_cast<double>(below)) * (ascending[above] - ascending[below]);
}

void TextStatistics::add(const DistributionDifference& position) {
  kl.add(position.kl);
  nll.add(position.nll);
  reference_nll.add(position.reference_nll);
  nll_difference.add(position.nll - position.reference_nll);
  same_top.add(position.top == position.reference_top ? 1 : 0);
  const double difference = position.probability_difference();
  probability_difference.add(difference);
  absolute_probability_difference.add(std::abs(difference));
  squared_probability_difference_.add(difference * difference);
  kl_values_.push_back(position.kl);
}

std::vector<double> TextStatistics::sorted_kl() const {
  std::vector<double> values = kl_values_;
  std::ranges::sort(values);
  return values;
}

double TextStatistics::rms_probability_difference() const {
  return std::sqrt(squared_probability_difference_.mean());
}

}  // namespace tetrad
