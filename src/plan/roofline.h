#pragma once

// What a step must read and compute, whatever program does it: the least time is that over the
// machine's rates. Not in it: launches, collectives, sampling. Time that a real engine takes is
// longer, never shorter.

#include <cstdint>
#include <optional>

#include "base/dtype.h"
#include "plan/sharding.h"

namespace tetrad::plan {

/// Of one GPU.
struct MachineRates {
  std::optional<double> bytes_per_second;
  std::optional<double> operations_per_second;  // a multiply-add is two
};

struct DecodeForecast {
  int64_t batch = 1;    // sequences, one token each
  int64_t context = 0;  // tokens of each in the KV cache
  /// Of one layer, expected: routing as if it were uniform and independent.
  double distinct_experts = 0;
  /// Read by one GPU: weights once, the cache of each sequence. With expert parallelism the mean of
  /// the GPUs, which is less than the busiest one reads.
  double bytes = 0;
  double multiply_adds = 0;  // of all GPUs of the replica
  /// The longer of reading and computing; absent without a bandwidth.
  std::optional<double> seconds;

  /// Of all sequences together: a ceiling.
  std::optional<double> tokens_per_second() const;
};

struct PrefillForecast {
  int64_t tokens = 0;  // of one prompt, from an empty cache
  int64_t chunks = 0;  // steps of at most max_num_batched_tokens
  double bytes = 0;    // read by one GPU over all chunks
  double multiply_adds = 0;
  std::optional<double> read_seconds;
  std::optional<double> compute_seconds;
};

class Roofline {
 public:
  /// kv_token_bytes: on one GPU.
  Roofline(const PlannedModel& model, Layout layout, int64_t kv_token_bytes, MachineRates rates);

  DecodeForecast decode(int64_t batch, int64_t context) const;
  PrefillForecast prefill(int64_t tokens, int64_t chunk) const;

  /// E (1 - (1 - k/E)^tokens) of E experts, of which each token visits k.
  double distinct_experts(int64_t tokens) const;

  /// With expert parallelism: distinct experts of a layer on the GPU that has most of them,
  /// expected as if routing were uniform. Without: all that distinct_experts() says, since each
  /// GPU has a part of every expert.
  double busiest_experts(int64_t tokens) const;

  /// Bytes that this GPU reads beyond the mean of the GPUs, in a step of so many tokens.
  double busiest_excess_bytes(int64_t tokens) const;

 private:
  /// Weights that a step of so many tokens reads on one GPU, head excluded.
  double weight_bytes(int64_t tokens) const;

  MachineRates rates_;
  double num_experts_ = 0;
  double experts_per_token_ = 0;
  double num_ranks_ = 0;
  int64_t whole_experts_ = 0;  // of a layer, on one GPU; 0 without expert parallelism
  // Bytes on one GPU.
  double dense_bytes_ = 0;  // attention, norms, router: read whole by each step
  double expert_bytes_ = 0;
  double head_bytes_ = 0;
  double embedding_row_bytes_ = 0;
  double kv_token_bytes_ = 0;
  // Multiply-adds of all ranks together.
  double token_macs_ = 0;  // layers without scores and values
  double head_macs_ = 0;
  double key_macs_ = 0;  // of one query with one key: its score, and its share of the value
};

}  // namespace tetrad::plan
