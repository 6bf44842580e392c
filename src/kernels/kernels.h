#pragma once

// The operation table: everything the forward pass asks of a machine. Two implementations so far,
// the scalar reference (kernels/reference) and the threaded SIMD one (kernels/cpu); every one must
// agree with the reference on every operation (kernels/kernels_test.cpp).
//
// Contract of all operations:
//  * Results of a row never depend on the other rows of the batch: the order of every sum is fixed
//    by the matrix shape alone, so a token alone, batched, or in any prefill chunk gives the same
//    bits.
//  * Statistics, softmax, router and accumulation are float32; weights are read packed.
//  * Shapes are the caller's duty (checked once when the model loads); operations do not fail.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/thread_pool.h"
#include "checkpoint/weight.h"
#include "kernels/batch.h"

namespace tetrad {

/// Activations: a row-major float32 matrix [rows, cols] in memory the backend computes on.
struct Activations {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;

  float* row(int64_t i) const { return data + i * cols; }
  std::span<float> row_span(int64_t i) const { return {row(i), static_cast<size_t>(cols)}; }
};

/// Partial rotary embedding, halves paired within the first rotary_dim dims of each head.
struct RopeParameters {
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;
  double theta = 0;
};

/// The experts of one layer, expert e at index e.
struct ExpertWeights {
  std::span<const WeightMatrix> w1;  // gate: [intermediate_size, hidden_size] each
  std::span<const WeightMatrix> w3;  // up:   [intermediate_size, hidden_size]
  std::span<const WeightMatrix> w2;  // down: [hidden_size, intermediate_size]
};

/// Which experts each of T tokens visits, expert of lower id first on equal scores.
struct Routing {
  std::span<int32_t> expert_ids;  // [T, num_experts_per_tok]
  std::span<float> weights;       // [T, num_experts_per_tok], each row sums to 1
  int64_t num_experts_per_tok = 0;
};

/// One of the products of an input: out[t] = weight x[t].  out: [T, weight.rows]
struct Projection {
  const WeightMatrix* weight = nullptr;
  Activations out;
};

/// In what form activations meet mxfp4_16 weights. With all other weights it is float32.
enum class ActivationType : uint8_t {
  f32,
  /// 8 bits and a scale for each 16 columns (kernels/int8_block.h): the products of a group of
  /// weights add up in integers.
  int8,
};

class Kernels {
 public:
  virtual ~Kernels() = default;

  /// For logs and /version: "reference", "cpu (avx512, 2 threads)".
  virtual std::string_view name() const = 0;

  /// out[t] = table[token_ids[t]].  table: [vocab_size, hidden_size], out: [T, hidden_size]
  virtual void embed(const WeightMatrix& table, std::span<const int32_t> token_ids,
                     Activations out) = 0;

  /// out[t] = weight * x[t] / sqrt(mean(x[t]^2) + eps).  x, out: [T, n], may be the same memory.
  virtual void rms_norm(Activations x, std::span<const float> weight, float eps,
                        Activations out) = 0;

  /// All products of one input.  x: [T, cols of every weight]
  virtual void linear(Activations x, std::span<const Projection> projections) = 0;
  /// out[t] = W x[t].  x: [T, W.cols], out: [T, W.rows]
  void linear(const WeightMatrix& weight, Activations x, Activations out) {
    const Projection projection{&weight, out};
    linear(x, {&projection, 1});
  }

  /// x += y.  Both [T, n].
  virtual void add(Activations x, Activations y) = 0;

  /// Rotates the first rotary_dim dims of every head in place. x: [T, num_heads * head_dim]
  virtual void rope(Activations x, std::span<const int32_t> positions,
                    const RopeParameters& parameters) = 0;

  /// Writes k[t], v[t] ([T, num_kv_heads * head_dim]) to the cache slots slot_mapping[t], rounded
  /// to the cache's type: every backend stores the same bits.
  virtual void write_kv(Activations k, Activations v, std::span<const int64_t> slot_mapping,
                        const KvCacheLayer& cache) = 0;

  /// Causal attention of each row over its sequence's cached tokens, its own included; query head h
  /// reads KV head h / (num_heads / num_kv_heads), scores are scaled by 1/sqrt(head_dim).
  /// q, out: [T, num_heads * head_dim]
  virtual void attention(Activations q, const Batch& batch, const KvCacheLayer& cache,
                         Activations out) = 0;

  /// s = sigmoid(router_logits[t]); picks the num_experts_per_tok largest s + bias; weights are the
  /// picked s (without the bias) over their sum.  router_logits: [T, num_experts], bias:
  /// [num_experts]
  virtual void route(Activations router_logits, std::span<const float> bias, Routing routing) = 0;

  /// out[t] = sum over the picked experts e of weight * w2_e (silu(w1_e x[t]) * (w3_e x[t])),
  /// summed in the order of the routing's columns.  x, out: [T, hidden_size]
  virtual void experts(Activations x, const ExpertWeights& weights, const Routing& routing,
                       Activations out) = 0;
};

/// Single-threaded, scalar, written to be read: the definition of every operation.
std::unique_ptr<Kernels> make_reference_kernels(ActivationType activations = ActivationType::f32);

/// Threaded, with AVX-512, AVX2 or plain code chosen by what this machine has.
/// `isa`: "auto", "avx512", "avx2" or "generic"; asking for one the machine lacks is an error.
Result<std::unique_ptr<Kernels>> make_cpu_kernels(std::shared_ptr<ThreadPool> pool,
                                                  std::string_view isa = "auto",
                                                  ActivationType activations = ActivationType::f32);

}  // namespace tetrad
