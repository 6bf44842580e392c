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
