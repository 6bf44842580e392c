#pragma once

// Matrix products whose sums do not go over lanes: the operands of one side are broadcast. D is
// FloatDot or Bf16Dot.

#include "kernels/cpu/block_prefetch.h"

namespace tetrad {

/// sums[q][n] += Σ a[q][step] * b[step][n] over the steps: vector n of a step stands at
/// b + step * step_stride + n * vector_stride, and n is a vector of 16 sums.
struct Product {
  const float* a = nullptr;
  int64_t a_stride = 0;
  const float* b = nullptr;
  int64_t step_stride = 0;
  int64_t vector_stride = 0;
  int64_t num_steps = 0;
  float* sums = nullptr;
  int64_t sums_stride = 0;
  bool from_zero = false;             // sums hold nothing yet
  BlockPrefetch* prefetch = nullptr;  // for the first queries' tiles
};

template <class D, int Q, int N, bool kPrefetch>
void multiply_tile(const Product& product, int64_t query, int64_t vector) {
  using V = typename D::Vector;
  const float* a = product.a + query * product.a_stride;
  const float* b = product.b + vector * product.vector_stride;
  float* out = product.sums + query * product.sums_stride + vector * kLanes;
  typename V::Reg sums[Q][N];
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      sums[q][n] =
          product.from_zero ? V::zero() : V::load(out + q * product.sums_stride + n * kLanes);
    }
  }
  BlockPrefetch prefetch;
  if constexpr (kPrefetch) prefetch = *product.prefetch;
  for (int64_t step = 0; step < product.num_steps; ++step) {
    if constexpr (kPrefetch) prefetch.advance();
    decltype(D::load(b)) operands[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n)
      operands[n] = D::load(b + n * product.vector_stride);
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      const auto factor = D::broadcast(a + q * product.a_stride + step);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n)
        D::add_product(sums[q][n], factor, operands[n]);
    }
    b += product.step_stride;
  }
  if constexpr (kPrefetch) *product.prefetch = prefetch;
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n)
      V::store(out + q * product.sums_stride + n * kLanes, sums[q][n]);
  }
}

/// All vectors of up to Q queries, from `query` on.
template <class D, int Q>
void multiply_queries(const Product& product, int64_t query, int64_t num_queries,
                      int64_t num_vectors) {
  if constexpr (Q > 1) {
    if (num_queries < Q)
      return multiply_queries<D, Q - 1>(product, query, num_queries, num_vectors);
  }
  constexpr int kVectors = D::Vector::kProductVectors;
  int64_t vector = 0;
  if (product.prefetch != nullptr && query == 0) {
    for (; vector + kVectors <= num_vectors; vector += kVectors)
      multiply_tile<D, Q, kVectors, true>(product, query, vector);
  }
  for (; vector + kVectors <= num_vectors; vector += kVectors)
    multiply_tile<D, Q, kVectors, false>(product, query, vector);
  for (; vector < num_vectors; ++vector)
    multiply_tile<D, Q, 1, false>(product, query, vector);
}

template <class D>
void multiply(const Product& product, int64_t num_queries, int64_t num_vectors) {
  constexpr int kQueries = D::Vector::kProductQueries;
  for (int64_t query = 0; query < num_queries; query += kQueries)
    multiply_queries<D, kQueries>(product, query, num_queries - query, num_vectors);
}

}  // namespace tetrad
