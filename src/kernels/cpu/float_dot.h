#pragma once

#include "kernels/cpu/elementwise.h"

namespace tetrad {

/// The arithmetic of attention over an E4M3 cache (attend_e4m3.h) over a vector type V: operands
/// are floats, one to a lane, and nothing is rounded. Bf16Dot is the other one.
template <class V>
struct FloatDot {
  using Vector = V;
  using Reg = typename V::Reg;
  static constexpr int kElements = 1;  // of the sum that a lane of an operand holds

  static Reg load(const float* p) { return V::load(p); }
  static Reg broadcast(const float* p) { return V::set(*p); }
  static void add_product(Reg& sum, const Reg& a, const Reg& b) { sum = V::fma(a, b, sum); }

  /// The share of a score that is x / kScoreUnit below the largest is power(x).
  static constexpr float kScoreUnit = 1;
  static Reg power(Reg x) { return exp<V>(x); }

  /// `n` floats, a multiple of 16, as n / kElements lanes.
  static void pack(const float* values, int64_t n, float* out) {
    for (int64_t i = 0; i < n; i += kLanes)
      V::store(out + i, V::load(values + i));
  }
  /// 16 shares of the sum of values, and what the rounding to operands has left of them.
  static Reg pack_shares(Reg shares, float* out) {
    V::store(out, shares);
    return shares;
  }
  /// The 16 keys of a block: head_dim / kElements vectors of 16 keys.
  static void expand_keys(const unsigned char* keys, int64_t head_dim, float* out) {
    for (int64_t dim = 0; dim < head_dim; dim += kLanes) {
      Reg rows[kLanes];
      for (int64_t key = 0; key < kLanes; ++key)
        rows[key] = V::widen_e4m3(keys + key * head_dim + dim);
      V::transpose(rows);
      for (int64_t i = 0; i < kLanes; ++i)
        V::store(out + (dim + i) * kLanes, rows[i]);
    }
  }
  /// `count` <= 16 values, and zeros up to a multiple of 4: rows of head_dim lanes, in an order of
  /// the dims that write_values undoes.
  static void expand_values(const unsigned char* values, int64_t head_dim, int64_t count,
                            float* out) {
    for (int64_t value = 0; value < (count + 3) / 4 * 4; ++value) {
      for (int64_t dim = 0; dim < head_dim; dim += kLanes) {
        const int64_t place = value * head_dim + dim;
        V::store(out + place, value < count ? V::widen_e4m3(values + place) : V::zero());
      }
    }
  }
  /// Up to so many queries D has loops for that multiply what they expand.
  static constexpr int kMaxDirectQueries = 0;

  /// out = factor * sums
  static void write_values(const float* sums, float factor, int64_t head_dim, float* out) {
    for (int64_t dim = 0; dim < head_dim; dim += kLanes)
      V::store(out + dim, V::mul(V::load(sums + dim), V::set(factor)));
  }
};

}  // namespace tetrad
