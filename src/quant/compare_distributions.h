#pragma once

// Two predictions of one token: the distributions that two rows of logits stand for.

#include <cstdint>
#include <span>

namespace tetrad {

/// log Σ exp(logits), in double. Not finite if a logit is NaN or +infinity.
double log_sum_exp(std::span<const float> logits);

/// p is the reference's distribution, q the model's; all in nats.
struct DistributionDifference {
  double kl = 0;             // Σ p (log p - log q), at least 0
  double nll = 0;            // -log q(target)
  double reference_nll = 0;  // -log p(target)
  int32_t top = 0;           // likeliest token of q, the lowest id among equals
  int32_t reference_top = 0;
  double top_probability = 0;  // q(top)
  double reference_top_probability = 0;

  /// q(target) - p(target)
  double probability_difference() const;
  /// False where a row of logits had a NaN or an infinity in it.
  bool is_finite() const;
};

/// Rows of the same length; `target` is an id within it. Sums are in double. Equal rows have a
/// difference of exactly 0.
DistributionDifference compare_distributions(std::span<const float> reference_logits,
                                             std::span<const float> logits, int32_t target);

}  // namespace tetrad
