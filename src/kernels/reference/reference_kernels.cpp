// The definition of every operation: one thread, no vectors, sums in double.
//
// Doubles are used inside an operation and rounded to float once, where the contract says the
// result is float; so what this file computes is the exact result to about one float rounding a
// stored value, and any other implementation can be measured against it.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/int8_block.h"
#include "kernels/kernels.h"

namespace tetrad {
namespace {

double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

/// Eight partial sums, so that the additions need not wait for one another.
double dot(std::span<const float> a, std::span<const float> b) {
  std::array<double, 8> sums{};
  for (size_t i = 0; i < a.size(); ++i) {
    sums[i % sums.size()] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

/// One half of a KV cache layer, keys or values.
class CacheView {
 public:
  static CacheView keys(const KvCacheLayer& cache) { return {cache, cache.k, cache.k_scale}; }
  static CacheView values(const KvCacheLayer& cache) { return {cache, cache.v, cache.v_scale}; }

  void write(int64_t slot, int64_t kv_head, std::span<const float> vector) const {
    std::byte* out = address(slot, kv_head);
    const float scale = scale_;  // a member might be among the bytes written, as compilers see it
    switch (cache_->dtype) {
      case DType::f8_e4m3:
        for (size_t i = 0; i < vector.size(); ++i)
          out[i] = std::byte{float_to_f8_e4m3(vector[i] / scale)};
        break;
      case DType::bf16:
        for (size_t i = 0; i < vector.size(); ++i) {
          const uint16_t bits = float_to_bf16(vector[i]);
          std::memcpy(out + i * sizeof bits, &bits, sizeof bits);
        }
        break;
      default:
        std::memcpy(out, vector.data(), vector.size_bytes());
    }
  }

  /// What is stored, without the scale: whoever sums it multiplies the sum.
  void read(int64_t slot, int64_t kv_head, std::span<float> vector) const {
    const std::byte* in = address(slot, kv_head);
    switch (cache_->dtype) {
      case DType::f8_e4m3:
        for (size_t i = 0; i < vector.size(); ++i)
          vector[i] = f8_e4m3_to_float(std::to_integer<uint8_t>(in[i]));
        break;
      case DType::bf16:
        for (size_t i = 0; i < vector.size(); ++i) {
          uint16_t bits = 0;
          std::memcpy(&bits, in + i * sizeof bits, sizeof bits);
          vector[i] = bf16_to_float(bits);
        }
        break;
      default:
        std::memcpy(vector.data(), in, vector.size_bytes());
    }
  }

 private:
  CacheView(const KvCacheLayer& cache, std::byte* data, float scale)
      : cache_(&cache), data_(data), scale_(scale) {}

  std::byte* address(int64_t slot, int64_t kv_head) const {
    const int64_t block = slot / kKvBlockSize;
    const int64_t vector =
        (block * cache_->num_kv_heads + kv_head) * kKvBlockSize + slot % kKvBlockSize;
    return data_ + vector * cache_->head_dim * static_cast<int64_t>(dtype_size(cache_->dtype));
  }

  const KvCacheLayer* cache_;
  std::byte* data_;
  float scale_;
};

/// In place: exp(s) over their sum, computed from differences to the largest so that nothing
/// overflows.
void softmax(std::span<double> scores) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) {
    score = std::exp(score - largest);
    sum += score;
  }
  for (double& score : scores)
    score /= sum;
}

/// What is left of a group of activations after 8 bits (kernels/int8_block.h).
void round_group_to_int8(std::span<float> group) {
  float largest = 0;
  for (const float value : group) {
    if (!std::isfinite(value)) {
      std::ranges::fill(group, std::numeric_limits<float>::quiet_NaN());
      return;
    }
    largest = std::max(largest, std::abs(value));
  }
  const float inverse = largest < kInt8Smallest ? 0.0f : 127.0f / largest;
  for (float& value : group)
    value = std::nearbyint(value * inverse) * (largest / 127.0f);
}

class ReferenceKernels final : public Kernels {
 public:
  explicit ReferenceKernels(ActivationType activations) : activations_(activations) {}

  std::string_view name() const override { return "reference"; }

  void embed(const WeightMatrix& table, std::span<const int32_t> token_ids,
             Activations out) override {
    for (int64_t t = 0; t < out.rows; ++t) {
      dequantize_row(table, token_ids[static_cast<size_t>(t)], out.row_span(t));
    }
  }

  void rms_norm(Activations x, std::span<const float> weight, float eps, Activations out) override {
    for (int64_t t = 0; t < x.rows; ++t) {
      const std::span<const float> in = x.row_span(t);
      const double mean_square = dot(in, in) / static_cast<double>(x.cols);
      const double scale = 1.0 / std::sqrt(mean_square + static_cast<double>(eps));
      for (size_t i = 0; i < in.size(); ++i) {
        out.row(t)[i] = static_cast<float>(weight[i] * (in[i] * scale));
      }
    }
  }

  void linear(Activations x, std::span<const Projection> projections) override {
    for (const auto& [weight, out] : projections) {
      if (activations_ == ActivationType::int8 && weight->format == WeightFormat::mxfp4_16) {
        std::vector<float> rounded(x.data, x.data + x.rows * x.cols);
        for (size_t first = 0; first < rounded.size(); first += kMxfp4GroupSize)
          round_group_to_int8(std::span(rounded).subspan(first, kMxfp4GroupSize));
        multiply(*weight, {rounded.data(), x.rows, x.cols}, out);
      } else {
        multiply(*weight, x, out);
      }
    }
  }
  using Kernels::linear;

  static void multiply(const WeightMatrix& weight, Activations x, Activations out) {
    std::vector<float> w(static_cast<size_t>(weight.cols));
    for (int64_t n = 0; n < weight.rows; ++n) {
      dequantize_row(weight, n, w);
      for (int64_t t = 0; t < x.rows; ++t) {
        out.row(t)[n] = static_cast<float>(dot(w, x.row_span(t)));
      }
    }
  }

  void add(Activations x, Activations y) override {
    for (int64_t i = 0; i < x.rows * x.cols; ++i)
      x.data[i] += y.data[i];
  }

  /// Angles are computed in double throughout. transformers rounds theta^(-2j/rotary_dim) and its
  /// product with the position to float: at position 1000 the two differ by up to 1e-4 radians.
  void rope(Activations x, std::span<const int32_t> positions,
            const RopeParameters& parameters) override {
    const auto half = static_cast<size_t>(parameters.rotary_dim / 2);
    std::vector<double> frequencies(half);  // radians a position
    for (size_t j = 0; j < half; ++j) {
      frequencies[j] = std::pow(parameters.theta, -2.0 * static_cast<double>(j) /
                                                      static_cast<double>(parameters.rotary_dim));
    }
    for (int64_t t = 0; t < x.rows; ++t) {
      for (size_t j = 0; j < half; ++j) {
        const double angle = positions[static_cast<size_t>(t)] * frequencies[j];
        const double cosine = std::cos(angle);
        const double sine = std::sin(angle);
        for (int64_t head = 0; head < x.cols; head += parameters.head_dim) {
          float& first = x.row(t)[static_cast<size_t>(head) + j];
          float& second = x.row(t)[static_cast<size_t>(head) + j + half];
          const double a = first;
          const double b = second;
          first = static_cast<float>(a * cosine - b * sine);
          second = static_cast<float>(b * cosine + a * sine);
        }
      }
    }
  }

  void write_kv(Activations k, Activations v, std::span<const int64_t> slot_mapping,
                const KvCacheLayer& cache) override {
    const CacheView keys = CacheView::keys(cache);
    const CacheView values = CacheView::values(cache);
    for (int64_t t = 0; t < k.rows; ++t) {
      const int64_t slot = slot_mapping[static_cast<size_t>(t)];
      for (int64_t head = 0; head < cache.num_kv_heads; ++head) {
        keys.write(slot, head, head_of(k, t, head, cache.head_dim));
        values.write(slot, head, head_of(v, t, head, cache.head_dim));
      }
    }
  }

  void attention(Activations q, const Batch& batch, const KvCacheLayer& cache,
                 Activations out) override {
    const int64_t num_heads = q.cols / cache.head_dim;
    for (const SequenceSlice& sequence : batch.sequences) {
      for (int64_t i = 0; i < sequence.query_len; ++i) {
        const int64_t t = sequence.query_start + i;
        const int64_t num_keys = sequence.context_len + i + 1;
        for (int64_t head = 0; head < num_heads; ++head) {
          attend(head_of(q, t, head, cache.head_dim), head / (num_heads / cache.num_kv_heads),
                 sequence.block_table, num_keys, cache, head_of(out, t, head, cache.head_dim));
        }
      }
    }
  }

  void route(Activations router_logits, std::span<const float> bias, Routing routing) override {
    const auto num_experts = static_cast<size_t>(router_logits.cols);
    const auto num_picked = static_cast<size_t>(routing.num_experts_per_tok);
    std::vector<float> scores(num_experts);
    std::vector<int32_t> order(num_experts);
    for (int64_t t = 0; t < router_logits.rows; ++t) {
      for (size_t e = 0; e < num_experts; ++e) {
        scores[e] = static_cast<float>(sigmoid(router_logits.row(t)[e]));
      }
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(
          order.begin(), order.begin() + routing.num_experts_per_tok, order.end(),
          [&](int32_t a, int32_t b) {
            const float score_a = scores[static_cast<size_t>(a)] + bias[static_cast<size_t>(a)];
            const float score_b = scores[static_cast<size_t>(b)] + bias[static_cast<size_t>(b)];
            return score_a > score_b || (score_a == score_b && a < b);
          });
      double sum = 0;
      for (size_t i = 0; i < num_picked; ++i)
        sum += scores[static_cast<size_t>(order[i])];
      const size_t first = static_cast<size_t>(t) * num_picked;
      for (size_t i = 0; i < num_picked; ++i) {
        routing.expert_ids[first + i] = order[i];
        // Sigmoids that all underflow to zero leave nothing to weigh by: equal shares.
        routing.weights[first + i] =
            sum == 0 ? 1.0f / static_cast<float>(num_picked)
                     : static_cast<float>(scores[static_cast<size_t>(order[i])] / sum);
      }
    }
  }

  void experts(Activations x, const ExpertWeights& weights, const Routing& routing,
               Activations out) override {
    // outputs[t * num_experts_per_tok + i] is what the i-th expert of token t says. Going by expert
    // instead of by token expands each weight row once for all its tokens.
    const int64_t num_picked = routing.num_experts_per_tok;
    std::vector<float> output_buffer(static_cast<size_t>(x.rows * num_picked * out.cols));
    const Activations outputs{output_buffer.data(), x.rows * num_picked, out.cols};
    for (size_t e = 0; e < weights.w1.size(); ++e) {
      std::vector<int64_t> visits;
      for (int64_t visit = 0; visit < outputs.rows; ++visit) {
        if (routing.expert_ids[static_cast<size_t>(visit)] == static_cast<int32_t>(e)) {
          visits.push_back(visit);
        }
      }
      if (!visits.empty()) run_expert(x, weights, e, visits, num_picked, outputs);
    }
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int64_t n = 0; n < out.cols; ++n) {
        double sum = 0;
        for (int64_t visit = t * num_picked; visit < (t + 1) * num_picked; ++visit) {
          sum += static_cast<double>(routing.weights[static_cast<size_t>(visit)]) *
                 static_cast<double>(outputs.row(visit)[n]);
        }
        out.row(t)[n] = static_cast<float>(sum);
      }
    }
  }

 private:
  static std::span<float> head_of(Activations x, int64_t t, int64_t head, int64_t head_dim) {
    return {x.row(t) + head * head_dim, static_cast<size_t>(head_dim)};
  }

  static void attend(std::span<const float> q, int64_t kv_head,
                     std::span<const int32_t> block_table, int64_t num_keys,
                     const KvCacheLayer& cache, std::span<float> out) {
    const auto slot_of = [&](size_t key) {
      return block_table[key / kKvBlockSize] * kKvBlockSize +
             static_cast<int64_t>(key) % kKvBlockSize;
    };
    const CacheView keys = CacheView::keys(cache);
    const CacheView values = CacheView::values(cache);
    std::vector<float> vector(q.size());
    std::vector<double> scores(static_cast<size_t>(num_keys));
    const double scale = cache.k_scale / std::sqrt(static_cast<double>(q.size()));
    for (size_t key = 0; key < scores.size(); ++key) {
      keys.read(slot_of(key), kv_head, vector);
      scores[key] = dot(q, vector) * scale;
    }
    softmax(scores);
    std::vector<double> sum(q.size());
    for (size_t key = 0; key < scores.size(); ++key) {
      values.read(slot_of(key), kv_head, vector);
      for (size_t i = 0; i < sum.size(); ++i)
        sum[i] += scores[key] * vector[i];
    }
    for (size_t i = 0; i < sum.size(); ++i)
      out[i] = static_cast<float>(sum[i] * cache.v_scale);
  }

  /// outputs[visit] = w2 (silu(w1 x[visit / num_picked]) * (w3 x[visit / num_picked])) of expert e.
  void run_expert(Activations x, const ExpertWeights& weights, size_t e,
                  std::span<const int64_t> visits, int64_t num_picked, Activations outputs) {
    const auto rows = static_cast<int64_t>(visits.size());
    const auto matrix = [rows](std::vector<float>& memory, int64_t cols) {
      memory.resize(static_cast<size_t>(rows * cols));
      return Activations{memory.data(), rows, cols};
    };
    std::vector<float> input_buffer, gate_buffer, up_buffer, output_buffer;
    const Activations input = matrix(input_buffer, x.cols);
    const Activations gate = matrix(gate_buffer, weights.w1[e].rows);
    const Activations up = matrix(up_buffer, weights.w3[e].rows);
    const Activations output = matrix(output_buffer, weights.w2[e].rows);
    for (int64_t i = 0; i < rows; ++i) {
      std::ranges::copy(x.row_span(visits[static_cast<size_t>(i)] / num_picked), input.row(i));
    }
    linear(weights.w1[e], input, gate);
    linear(weights.w3[e], input, up);
    for (size_t i = 0; i < gate_buffer.size(); ++i) {
      const double a = gate_buffer[i];
      gate_buffer[i] = static_cast<float>(a * sigmoid(a) * static_cast<double>(up_buffer[i]));
    }
    linear(weights.w2[e], gate, output);
    for (int64_t i = 0; i < rows; ++i) {
      std::ranges::copy(output.row_span(i), outputs.row(visits[static_cast<size_t>(i)]));
    }
  }

  ActivationType activations_;
};

}  // namespace

std::unique_ptr<Kernels> make_reference_kernels(ActivationType activations) {
  return std::make_unique<ReferenceKernels>(activations);
}

}  // namespace tetrad
