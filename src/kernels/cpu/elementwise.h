#pragma once

// Operations on one row of activations, over a vector type V (vector_*.h).

#include "kernels/cpu/matmul.h"

namespace tetrad {

template <class V>
void store_partial(float* p, typename V::Reg value, int64_t count) {
  float padded[kLanes];
  V::store(padded, value);
  __builtin_memcpy(p, padded, static_cast<uint64_t>(count) * 4);
}

/// out[i] = function(i's vectors of the inputs …) for n floats, whatever n.
template <class V, class Function, class... Inputs>
void transform(float* out, int64_t n, Function function, const Inputs*... inputs) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    V::store(out + i, function(V::load(inputs + i)...));
  if (i < n) store_partial<V>(out + i, function(load_partial<V>(inputs + i, n - i)...), n - i);
}

/// e^x to 2 units in the last place; 0 below -87.3, where the result would be subnormal.
template <class V>
typename V::Reg exp(typename V::Reg x) {
  using Reg = typename V::Reg;
  const Reg lowest = V::set(-87.33f);
  const Reg clamped = V::max(lowest, V::min(V::set(88.3f), x));
  // x = n ln 2 + r. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const Reg magic = V::set(12582912.0f);
  const Reg shifted = V::fma(clamped, V::set(1.44269504f), magic);
  const Reg n = V::sub(shifted, magic);
  const Reg ln2_high = V::set(-0.693359375f);
  const Reg ln2_low = V::set(2.12194440e-4f);
  const Reg r = V::fma(n, ln2_low, V::fma(n, ln2_high, clamped));
  // e^r = 1 + r + r^2 q(r): a least-squares fit of the relative error (3e-9) on |r| <= ln(2) / 2.
  Reg q = V::set(0x1.6a23cep-10f);
  q = V::fma(q, r, V::set(0x1.123a2p-7f));
  q = V::fma(q, r, V::set(0x1.5558f2p-5f));
  q = V::fma(q, r, V::set(0x1.555492p-3f));
  q = V::fma(q, r, V::set(0x1.fffffcp-2f));
  const Reg mantissa = V::add(V::fma(q, V::mul(r, r), r), V::set(1.0f));
  const Reg power = V::add_bits(V::shift_left_23(shifted), V::set(1.0f));
  return V::zero_where_less(x, lowest, V::mul(mantissa, power));
}

template <class V>
void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* out) {
  typename V::Reg sum = V::zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const typename V::Reg value = V::load(x + i);
    sum = V::fma(value, value, sum);
  }
  if (i < n) {
    const typename V::Reg value = load_partial<V>(x + i, n - i);
    sum = V::fma(value, value, sum);
  }
  const float mean_square = V::sum_of_lanes(sum) / static_cast<float>(n);
  const float scale = 1.0f / __builtin_sqrtf(mean_square + eps);
  transform<V>(
      out, n,
      [=](typename V::Reg value, typename V::Reg w) {
        return V::mul(w, V::mul(value, V::set(scale)));
      },
      x, weight);
}

template <class V>
void add(float* x, const float* y, int64_t n) {
  transform<V>(x, n, [](typename V::Reg a, typename V::Reg b) { return V::add(a, b); }, x, y);
}

template <class V>
void silu_multiply(float* gate, const float* up, int64_t n) {
  transform<V>(
      gate, n,
      [](typename V::Reg a, typename V::Reg b) {
        const typename V::Reg one_plus_exp = V::add(V::set(1.0f), exp<V>(V::sub(V::zero(), a)));
        return V::mul(V::div(a, one_plus_exp), b);
      },
      gate, up);
}

template <class V>
void weighted_sum(const float* const* rows, const float* weights, int64_t num_rows, int64_t n,
                  float* out) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t count = n - i < kLanes ? n - i : kLanes;
    typename V::Reg sum = V::zero();
    for (int64_t row = 0; row < num_rows; ++row) {
      const typename V::Reg value =
          count == kLanes ? V::load(rows[row] + i) : load_partial<V>(rows[row] + i, count);
      sum = V::fma(value, V::set(weights[row]), sum);
    }
    if (count == kLanes) {
      V::store(out + i, sum);
    } else {
      store_partial<V>(out + i, sum, count);
    }
  }
}

}  // namespace tetrad
