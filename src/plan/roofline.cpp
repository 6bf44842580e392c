#include "plan/roofline.h"

#include <algorithm>
#include <cmath>

#include "base/integer_math.h"

namespace tetrad::plan {
namespace {

std::optional<double> seconds_for(double amount, const std::optional<double>& rate) {
  if (!rate) return std::nullopt;
  return amount / *rate;
}

/// Of `draws` independent counts of hits in `trials` attempts that hit with chance `p`: the
/// expected largest, as the sum over c of the chance that one of them exceeds c. The experts that
/// one token visits are different ones, so the counts of ranks are not quite independent; against
/// random routing the sum is right to a few per cent.
double largest_of_binomials(int64_t trials, double p, double draws) {
  const auto n = static_cast<double>(trials);
  if (p >= 1) return n;
  double at_most = 0;
  double expected = 0;
  for (int64_t c = 0; c < trials; ++c) {
    const auto hits = static_cast<double>(c);
    const double log_ways = std::lgamma(n + 1) - std::lgamma(hits + 1) - std::lgamma(n - hits + 1);
    at_most += std::exp(log_ways + hits * std::log(p) + (n - hits) * std::log1p(-p));
    expected += 1 - std::pow(std::min(at_most, 1.0), draws);
  }
  return expected;
}

}  // namespace

std::optional<double> DecodeForecast::tokens_per_second() const {
  if (!seconds) return std::nullopt;
  return static_cast<double>(batch) / *seconds;
}

Roofline::Roofline(const PlannedModel& model, Layout layout, int64_t kv_token_bytes,
                   MachineRates rates)
    : rates_(rates),
      num_experts_(static_cast<double>(model.config.num_local_experts)),
      experts_per_token_(static_cast<double>(model.config.num_experts_per_tok)),
      num_ranks_(static_cast<double>(layout.tensor_parallel)),
      whole_experts_(layout.expert_parallel
                         ? ceil_div(model.config.num_local_experts, layout.tensor_parallel)
                         : 0),
      kv_token_bytes_(static_cast<double>(kv_token_bytes)),
      key_macs_(2.0 * static_cast<double>(model.config.num_hidden_layers) *
                static_cast<double>(model.config.q_size())) {
  for (const WeightClass& weight : model.weights) {
    const auto bytes = static_cast<double>(shard_of(weight, model.config, layout).bytes);
    const double macs = weight.is_matrix() ? static_cast<double>(weight.parameters()) : 0.0;
    if (weight.is_expert()) {
      expert_bytes_ += bytes;
      token_macs_ += macs * experts_per_token_ / num_experts_;
    } else if (weight.role == TensorRole::lm_head) {
      head_bytes_ += bytes;
      head_macs_ += macs;
    } else if (weight.role == TensorRole::embedding) {
      embedding_row_bytes_ += static_cast<double>(tensor_bytes(weight.format, 1, weight.cols));
    } else {
      dense_bytes_ += bytes;
      token_macs_ += macs;
    }
  }
}

double Roofline::distinct_experts(int64_t tokens) const {
  const double missed = 1.0 - experts_per_token_ / num_experts_;
  return num_experts_ * (1.0 - std::pow(missed, static_cast<double>(tokens)));
}

double Roofline::busiest_experts(int64_t tokens) const {
  if (whole_experts_ == 0) return distinct_experts(tokens);
  const double visited = distinct_experts(tokens) / num_experts_;
  return largest_of_binomials(whole_experts_, visited, num_ranks_);
}

double Roofline::busiest_excess_bytes(int64_t tokens) const {
  if (whole_experts_ == 0) return 0;
  return expert_bytes_ * (busiest_experts(tokens) / static_cast<double>(whole_experts_) -
                          distinct_experts(tokens) / num_experts_);
}

double Roofline::weight_bytes(int64_t tokens) const {
  return dense_bytes_ + expert_bytes_ * distinct_experts(tokens) / num_experts_ +
         embedding_row_bytes_ * static_cast<double>(tokens) / num_ranks_;
}

DecodeForecast Roofline::decode(int64_t batch, int64_t context) const {
  const auto sequences = static_cast<double>(batch);
  const auto keys = static_cast<double>(context);
  DecodeForecast forecast{.batch = batch, .context = context};
  forecast.distinct_experts = distinct_experts(batch);
  forecast.bytes = weight_bytes(batch) + head_bytes_ + sequences * keys * kv_token_bytes_;
  forecast.multiply_adds = sequences * (token_macs_ + head_macs_ + (keys + 1) * key_macs_);
  forecast.seconds = seconds_for(forecast.bytes, rates_.bytes_per_second);
  const auto compute =
      seconds_for(2 * forecast.multiply_adds / num_ranks_, rates_.operations_per_second);
  if (forecast.seconds && compute) forecast.seconds = std::max(*forecast.seconds, *compute);
  return forecast;
}

PrefillForecast Roofline::prefill(int64_t tokens, int64_t chunk) const {
  const auto count = static_cast<double>(tokens);
  PrefillForecast forecast{.tokens = tokens, .chunks = ceil_div(tokens, chunk)};
  const int64_t last_chunk = tokens - (forecast.chunks - 1) * chunk;
  const auto full_chunks = static_cast<double>(forecast.chunks - 1);
  // Before chunk i (from 0) the cache holds i * chunk tokens, which it reads.
  const double keys_read = static_cast<double>(chunk) * full_chunks * (full_chunks + 1) / 2;
  forecast.bytes = full_chunks * weight_bytes(chunk) + weight_bytes(last_chunk) + head_bytes_ +
                   keys_read * kv_token_bytes_;
  // Token i (from 0) attends to i + 1 keys; only the last needs logits.
  forecast.multiply_adds = count * token_macs_ + head_macs_ + count * (count + 1) / 2 * key_macs_;
  forecast.read_seconds = seconds_for(forecast.bytes, rates_.bytes_per_second);
  forecast.compute_seconds =
      seconds_for(2 * forecast.multiply_adds / num_ranks_, rates_.operations_per_second);
  return forecast;
}

}  // namespace tetrad::plan
