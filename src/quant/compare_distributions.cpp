#include "quant/compare_distributions.h"

#include <algorithm>
#include <cmath>

namespace tetrad {
namespace {

int32_t index_of_largest(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits)
    sum += std::exp(static_cast<double>(logit) - largest);
  return std::log(sum) + largest;
}

double DistributionDifference::probability_difference() const {
  return std::exp(-nll) - std::exp(-reference_nll);
}

bool DistributionDifference::is_finite() const {
  return std::isfinite(kl) && std::isfinite(nll) && std::isfinite(reference_nll);
}

DistributionDifference compare_distributions(std::span<const float> reference_logits,
                                             std::span<const float> logits, int32_t target) {
  DistributionDifference result;
  result.top = index_of_largest(logits);
  result.reference_top = index_of_largest(reference_logits);
  const double largest = reference_logits[static_cast<size_t>(result.reference_top)];
  // One pass for the normaliser of p and the mean of (a - b) under it: with a and b for the two
  // rows, log p - log q is (a - b) - (log Σ exp a - log Σ exp b).
  double sum = 0;
  double weighted = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double a = reference_logits[i];
    const double weight = std::exp(a - largest);
    sum += weight;
    weighted += weight * (a - logits[i]);
  }
  const double reference_normaliser = std::log(sum) + largest;
  const double normaliser = log_sum_exp(logits);
  const double kl = weighted / sum - (reference_normaliser - normaliser);
  // Rounding can bring a divergence of nothing below it; a NaN must stay one.
  result.kl = kl < 0 ? 0.0 : kl;
  const auto nll_of = [](std::span<const float> row, double row_normaliser, int32_t id) {
    return row_normaliser - row[static_cast<size_t>(id)];
  };
  result.nll = nll_of(logits, normaliser, target);
  result.reference_nll = nll_of(reference_logits, reference_normaliser, target);
  result.top_probability = std::exp(-nll_of(logits, normaliser, result.top));
  result.reference_top_probability =
      std::exp(-nll_of(reference_logits, reference_normaliser, result.reference_top));
  return result;
}

}  // namespace tetrad
