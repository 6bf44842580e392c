#pragma once

// One row of a weight matrix in each format, over a vector type V (vector_*.h):
//   open(matrix, row);
//   prepare(k, end)    before the loads of a chunk: columns k … end - 1, k a multiple of kChunk;
//   load(k, shared)    columns k … k + 15 as floats;
//   load_partial(k, n) the last n < 16 columns, and zeros behind them.
// Shared is what all rows of a matrix have in common: rows that kept it themselves would each take
// a register for it. Data may stand at any address, and no byte beyond a row's last is read.

#include "kernels/cpu/simd_kernels.h"

namespace tetrad {

inline constexpr int64_t kChunk = 256;

struct NothingShared {};

/// Weights come from main memory row by row, in more streams at once than the hardware prefetcher
/// follows. A chunk asks for the same columns of the row that is so many rows ahead.
inline constexpr int64_t kPrefetchRows = 8;

/// `bytes` from p on; going beyond the matrix is harmless. Always inline, since GCC 12 drops calls
/// of a function that does nothing but prefetch.
template <class V, int64_t bytes>
[[gnu::always_inline]] inline void prefetch(const unsigned char* p) {
#pragma GCC unroll 16
  for (int64_t i = 0; i < bytes; i += 64)
    __builtin_prefetch(p + i);
}

template <class V>
struct F32Element {
  static constexpr int64_t kBytes = 4;
  static typename V::Reg widen(const void* p) { return V::load(p); }
};
template <class V>
struct F16Element {
  static constexpr int64_t kBytes = 2;
  static typename V::Reg widen(const void* p) { return V::widen_f16(p); }
};
template <class V>
struct Bf16Element {
  static constexpr int64_t kBytes = 2;
  static typename V::Reg widen(const void* p) { return V::widen_bf16(p); }
};
template <class V>
struct E4m3Element {
  static constexpr int64_t kBytes = 1;
  static typename V::Reg widen(const void* p) { return V::widen_e4m3(p); }
};

/// `count` < 16 elements, and zeros behind them; reads no byte beyond.
template <class V, class Element>
typename V::Reg widen_partial(const unsigned char* p, int64_t count) {
  unsigned char padded[kLanes * Element::kBytes] = {};
  __builtin_memcpy(padded, p, static_cast<uint64_t>(count * Element::kBytes));
  return Element::widen(padded);
}

template <class V>
typename V::Reg load_partial(const float* p, int64_t count) {
  return widen_partial<V, F32Element<V>>(reinterpret_cast<const unsigned char*>(p), count);
}

/// kPrefetch: the matrix is large and in main memory.
template <class V, class ElementType, bool kPrefetch = true>
class DenseRow {
 public:
  using Element = ElementType;
  using Shared = NothingShared;

  static Shared shared(const MatrixRows& /*matrix*/) { return {}; }
  void open(const MatrixRows& matrix, int64_t row) {
    data_ = matrix.data + row * matrix.row_bytes;
    bytes_ahead_ = kPrefetchRows * matrix.row_bytes;
  }
  void prepare(int64_t begin, int64_t /*end*/) {
    if constexpr (kPrefetch) {
      prefetch<V, kChunk * Element::kBytes>(data_ + begin * Element::kBytes + bytes_ahead_);
    }
  }
  typename V::Reg load(int64_t k, Shared /*shared*/) const {
    return Element::widen(data_ + k * Element::kBytes);
  }
  typename V::Reg load_partial(int64_t k, int64_t count) const {
    return widen_partial<V, Element>(data_ + k * Element::kBytes, count);
  }

 private:
  const unsigned char* data_ = nullptr;
  int64_t bytes_ahead_ = 0;
};

/// E4M3 with one float scale for each 128 columns of 128 rows.
template <class V>
class Fp8BlockRow {
 public:
  using Shared = NothingShared;

  static Shared shared(const MatrixRows& /*matrix*/) { return {}; }
  void open(const MatrixRows& matrix, int64_t row) {
    elements_.open(matrix, row);
    scales_ = matrix.scales + row / matrix.rows_per_scale_row * matrix.scale_row_bytes;
  }
  void prepare(int64_t begin, int64_t end) {
    elements_.prepare(begin, end);
    const int64_t first = begin / kBlock;
    const int64_t count = (end - begin + kBlock - 1) / kBlock;
    __builtin_memcpy(scale_, scales_ + first * 4, static_cast<uint64_t>(count * 4));
  }
  typename V::Reg load(int64_t k, Shared shared) const {
    return V::mul(elements_.load(k, shared), scale_at(k));
  }
  typename V::Reg load_partial(int64_t k, int64_t count) const {
    return V::mul(elements_.load_partial(k, count), scale_at(k));
  }

 private:
  static constexpr int64_t kBlock = 128;
  typename V::Reg scale_at(int64_t k) const {
    return V::set(scale_[static_cast<uint64_t>(k) % kChunk / kBlock]);
  }

  DenseRow<V, E4m3Element<V>> elements_;
  const unsigned char* scales_ = nullptr;
  float scale_[kChunk / kBlock] = {};
};

/// 4-bit codes with one FP16 scale for each 16 columns. Level times scale is exact in float.
template <class V>
class Mxfp4Row {
 public:
  using Shared = typename V::Levels;

  static Shared shared(const MatrixRows& matrix) { return V::levels(matrix.codebook); }
  void open(const MatrixRows& matrix, int64_t row) {
    codes_ = matrix.data + row * matrix.row_bytes;
    scales_ = matrix.scales + row * matrix.scale_row_bytes;
    code_bytes_ahead_ = kPrefetchRows * matrix.row_bytes;
    scale_bytes_ahead_ = kPrefetchRows * matrix.scale_row_bytes;
  }
  void prepare(int64_t begin, int64_t end) {
    const unsigned char* scales = scales_ + begin / kLanes * 2;
    prefetch<V, kChunk / 2>(codes_ + begin / 2 + code_bytes_ahead_);
    prefetch<V, kChunk / kLanes * 2>(scales + scale_bytes_ahead_);
    if (end - begin == kChunk) {
      V::store(scale_, V::widen_f16(scales));
    } else {
      V::store(scale_, widen_partial<V, F16Element<V>>(scales, (end - begin) / kLanes));
    }
  }
  typename V::Reg load(int64_t k, Shared levels) const {
    const auto column = static_cast<uint64_t>(k);
    return V::mul(V::look_up(codes_ + column / 2, levels),
                  V::set(scale_[column % kChunk / kLanes]));
  }
  /// Columns are a multiple of 16.
  typename V::Reg load_partial(int64_t /*k*/, int64_t /*count*/) const { return V::zero(); }

 private:
  const unsigned char* codes_ = nullptr;
  const unsigned char* scales_ = nullptr;
  int64_t code_bytes_ahead_ = 0;
  int64_t scale_bytes_ahead_ = 0;
  float scale_[kChunk / kLanes] = {};
};

}  // namespace tetrad
