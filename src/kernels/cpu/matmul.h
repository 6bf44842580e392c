#pragma once

// Matrix times some vectors, for every weight format, over a vector type V (vector_*.h).
//
// Every output is one chain: lane i adds W[n, 16j + i] * x[16j + i] for ascending j, then the lanes
// are added by a fixed tree. W[n, k] is the same float whether it is decoded in a register (few
// tokens) or once into a buffer for many tokens, and the way outputs are tiled never touches the
// chain; so a row of the result has the same bits in every batch.

#include "kernels/cpu/simd_kernels.h"

namespace tetrad {

// ---- weight rows: load(k) gives columns k … k + 15 as floats
// -------------------------------------
//
// prepare(k, end) comes before the loads of a chunk: columns k … end - 1, k a multiple of kChunk.

inline constexpr int64_t kChunk = 256;

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

template <class V, class ElementType>
class DenseRow {
 public:
  using Element = ElementType;

  void open(const MatrixRows& matrix, int64_t row) { data_ = matrix.data + row * matrix.row_bytes; }
  void prepare(int64_t /*begin*/, int64_t /*end*/) {}
  typename V::Reg load(int64_t k) const { return Element::widen(data_ + k * Element::kBytes); }
  typename V::Reg load_partial(int64_t k, int64_t count) const {
    return widen_partial<V, Element>(data_ + k * Element::kBytes, count);
  }

 private:
  const unsigned char* data_ = nullptr;
};

/// E4M3 with one float scale for each 128 columns of 128 rows.
template <class V>
class Fp8BlockRow {
 public:
  void open(const MatrixRows& matrix, int64_t row) {
    elements_.open(matrix, row);
    scales_ = matrix.scales + row / matrix.rows_per_scale_row * matrix.scale_row_bytes;
  }
  void prepare(int64_t begin, int64_t end) {
    const int64_t first = begin / kBlock;
    const int64_t count = (end - begin + kBlock - 1) / kBlock;
    __builtin_memcpy(scale_, scales_ + first * 4, static_cast<uint64_t>(count * 4));
  }
  typename V::Reg load(int64_t k) const { return V::mul(elements_.load(k), scale_at(k)); }
  typename V::Reg load_partial(int64_t k, int64_t count) const {
    return V::mul(elements_.load_partial(k, count), scale_at(k));
  }

 private:
  static constexpr int64_t kBlock = 128;
  typename V::Reg scale_at(int64_t k) const { return V::set(scale_[k % kChunk / kBlock]); }

  DenseRow<V, E4m3Element<V>> elements_;
  const unsigned char* scales_ = nullptr;
  float scale_[kChunk / kBlock] = {};
};

/// 4-bit codes with one FP16 scale for each 16 columns. Level times scale is exact in float.
template <class V>
class Mxfp4Row {
 public:
  void open(const MatrixRows& matrix, int64_t row) {
    codes_ = matrix.data + row * matrix.row_bytes;
    scales_ = matrix.scales + row * matrix.scale_row_bytes;
    levels_ = V::levels(matrix.codebook);
  }
  void prepare(int64_t begin, int64_t end) {
    const unsigned char* scales = scales_ + begin / kLanes * 2;
    if (end - begin == kChunk) {
      V::store(scale_, V::widen_f16(scales));
    } else {
      V::store(scale_, widen_partial<V, F16Element<V>>(scales, (end - begin) / kLanes));
    }
  }
  typename V::Reg load(int64_t k) const {
    return V::mul(V::look_up(codes_ + k / 2, levels_), V::set(scale_[k % kChunk / kLanes]));
  }
  /// Columns are a multiple of 16.
  typename V::Reg load_partial(int64_t /*k*/, int64_t /*count*/) const { return V::zero(); }

 private:
  const unsigned char* codes_ = nullptr;
  const unsigned char* scales_ = nullptr;
  typename V::Levels levels_;
  float scale_[kChunk / kLanes] = {};
};

// ---- the inner loop
// ------------------------------------------------------------------------------

/// sums[r][t] += columns begin … end - 1 of rows[r] times those of x[t], lane by lane.
/// begin is a multiple of kChunk.
template <class V, class Row, int R, int T>
void accumulate(Row (&rows)[R], const float* const* x, int64_t begin, int64_t end,
                typename V::Reg (&sums)[R][T]) {
  const float* columns[T];
  for (int t = 0; t < T; ++t)
    columns[t] = x[t];
  const int64_t whole = end - end % kLanes;
  for (int64_t chunk = begin; chunk < whole; chunk += kChunk) {
    const int64_t chunk_end = chunk + kChunk < whole ? chunk + kChunk : whole;
    for (int r = 0; r < R; ++r)
      rows[r].prepare(chunk, chunk_end);
    for (int64_t k = chunk; k < chunk_end; k += kLanes) {
      typename V::Reg activations[T];
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t)
        activations[t] = V::load(columns[t] + k);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const typename V::Reg weights = rows[r].load(k);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t)
          sums[r][t] = V::fma(weights, activations[t], sums[r][t]);
      }
    }
  }
  if (whole == end) return;
  for (int r = 0; r < R; ++r) {
    if (whole % kChunk == 0) rows[r].prepare(whole, end);
    const typename V::Reg weights = rows[r].load_partial(whole, end - whole);
    for (int t = 0; t < T; ++t) {
      sums[r][t] = V::fma(weights, load_partial<V>(columns[t] + whole, end - whole), sums[r][t]);
    }
  }
}

/// out[t * out_stride + r] = sums[r][t] added over its lanes, for r < num_rows.
template <class V, int R, int T>
void store_sums(const typename V::Reg (&sums)[R][T], int64_t num_rows, float* out,
                int64_t out_stride) {
  for (int t = 0; t < T; ++t) {
    float row_sums[R];
    if constexpr (R % 4 == 0) {
      for (int r = 0; r < R; r += 4) {
        V::sums_of_lanes(sums[r][t], sums[r + 1][t], sums[r + 2][t], sums[r + 3][t], row_sums + r);
      }
    } else {
      for (int r = 0; r < R; ++r)
        row_sums[r] = V::sum_of_lanes(sums[r][t]);
    }
    __builtin_memcpy(out + t * out_stride, row_sums, static_cast<uint64_t>(num_rows) * 4);
  }
}

/// Rows first … first + R - 1; those from `end` on repeat the last, and their results are dropped.
template <class Row, int R>
void open_rows(const MatrixRows& weight, int64_t first, int64_t end, Row (&rows)[R]) {
  for (int r = 0; r < R; ++r)
    rows[r].open(weight, first + r < end ? first + r : end - 1);
}

// ---- few tokens: weights are decoded in registers
// ------------------------------------------------

/// Rows of a tile that is T tokens wide.
template <class V, int T>
inline constexpr int kRowsFor = V::kSums / T < V::kMaxTileRows ? V::kSums / T : V::kMaxTileRows;

template <class V, class Row, int T>
void matmul_in_registers(const MatrixRows& weight, int64_t row_begin, int64_t row_end,
                         const float* const* x, float* out, int64_t out_stride) {
  constexpr int R = kRowsFor<V, T>;
  for (int64_t n = row_begin; n < row_end; n += R) {
    Row rows[R];
    open_rows(weight, n, row_end, rows);
    typename V::Reg sums[R][T];
    for (auto& row_sums : sums) {
      for (auto& sum : row_sums)
        sum = V::zero();
    }
    accumulate<V, Row, R, T>(rows, x, 0, weight.cols, sums);
    store_sums<V, R, T>(sums, row_end - n < R ? row_end - n : R, out + n, out_stride);
  }
}

// ---- many tokens: a block of weights is decoded once for a block of tokens
// -----------------------

/// Columns of weights decoded at a time: with the activations of a tile they stay in the L1 cache.
inline constexpr int64_t kColumnBlock = 3 * kChunk;
/// Activations of a block of tokens stay in the L2 cache.
inline constexpr int64_t kTokenBlockBytes = 512 << 10;
inline constexpr int64_t kMaxTokenBlock = 96;

template <class V>
struct DecodedTile {
  static constexpr int kRows = kRowsFor<V, V::kTileTokens>;
  alignas(64) float weights[kRows][kColumnBlock];
  /// Running sums of the tile's rows for each token, lane by lane.
  alignas(64) float sums[kMaxTokenBlock][kRows][kLanes];
};

/// weights[r] = columns begin … end - 1 of rows[r]; begin is a multiple of kChunk.
template <class V, class Row, int R>
void decode(Row (&rows)[R], int64_t begin, int64_t end, float (&weights)[R][kColumnBlock]) {
  const int64_t whole = end - end % kLanes;
  for (int r = 0; r < R; ++r) {
    for (int64_t chunk = begin; chunk < end; chunk += kChunk) {
      const int64_t chunk_end = chunk + kChunk < end ? chunk + kChunk : end;
      rows[r].prepare(chunk, chunk_end);
      for (int64_t k = chunk; k < chunk_end && k < whole; k += kLanes)
        V::store(weights[r] + (k - begin), rows[r].load(k));
    }
    if (whole < end) {
      V::store(weights[r] + (whole - begin), rows[r].load_partial(whole, end - whole));
    }
  }
}

/// Adds the decoded columns to the running sums of T tokens; x[t] points to column `begin`.
template <class V, int T>
void accumulate_decoded(const DecodedTile<V>& tile, const float* const* x, int64_t begin,
                        int64_t count, float (*running)[DecodedTile<V>::kRows][kLanes]) {
  constexpr int R = DecodedTile<V>::kRows;
  using Row = DenseRow<V, F32Element<V>>;
  Row rows[R];
  const MatrixRows decoded{.data = reinterpret_cast<const unsigned char*>(tile.weights),
                           .cols = count,
                           .row_bytes = kColumnBlock * 4};
  open_rows(decoded, 0, R, rows);
  const float* columns[T];
  for (int t = 0; t < T; ++t)
    columns[t] = x[t] + begin;
  typename V::Reg sums[R][T];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
      sums[r][t] = begin == 0 ? V::zero() : V::load(running[t][r]);
  }
  accumulate<V, Row, R, T>(rows, columns, 0, count, sums);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
      V::store(running[t][r], sums[r][t]);
  }
}

/// The first num_tokens <= T tokens, by the instance made for that number.
template <class V, int T>
void accumulate_decoded_up_to(int64_t num_tokens, const DecodedTile<V>& tile, const float* const* x,
                              int64_t begin, int64_t count,
                              float (*running)[DecodedTile<V>::kRows][kLanes]) {
  if (num_tokens >= T) {
    accumulate_decoded<V, T>(tile, x, begin, count, running);
  } else if constexpr (T > 1) {
    accumulate_decoded_up_to<V, T - 1>(num_tokens, tile, x, begin, count, running);
  }
}

/// One block of tokens, num_tokens <= kMaxTokenBlock.
template <class V, class Row>
void matmul_block(const MatrixRows& weight, int64_t row_begin, int64_t row_end,
                  const float* const* x, int64_t num_tokens, float* out, int64_t out_stride) {
  constexpr int R = DecodedTile<V>::kRows;
  DecodedTile<V> tile;
  for (int64_t n = row_begin; n < row_end; n += R) {
    Row rows[R];
    open_rows(weight, n, row_end, rows);
    for (int64_t begin = 0; begin < weight.cols; begin += kColumnBlock) {
      const int64_t end = begin + kColumnBlock < weight.cols ? begin + kColumnBlock : weight.cols;
      decode<V>(rows, begin, end, tile.weights);
      for (int64_t t = 0; t < num_tokens; t += V::kTileTokens) {
        accumulate_decoded_up_to<V, V::kTileTokens>(num_tokens - t, tile, x + t, begin, end - begin,
                                                    tile.sums + t);
      }
    }
    const int64_t num_rows = row_end - n < R ? row_end - n : R;
    for (int64_t t = 0; t < num_tokens; ++t) {
      typename V::Reg sums[R][1];
      for (int r = 0; r < R; ++r)
        sums[r][0] = V::load(tile.sums[t][r]);
      store_sums<V, R, 1>(sums, num_rows, out + t * out_stride + n, out_stride);
    }
  }
}

// ---- the entry
// -----------------------------------------------------------------------------------

template <class V, class Row, int T>
void matmul_up_to(const MatrixRows& weight, int64_t row_begin, int64_t row_end,
                  const float* const* x, int64_t num_tokens, float* out, int64_t out_stride) {
  if (num_tokens >= T) {
    matmul_in_registers<V, Row, T>(weight, row_begin, row_end, x, out, out_stride);
  } else if constexpr (T > 1) {
    matmul_up_to<V, Row, T - 1>(weight, row_begin, row_end, x, num_tokens, out, out_stride);
  }
}

/// SimdKernels::MatMul
template <class V, class Row>
void matmul(const MatrixRows& weight, int64_t row_begin, int64_t row_end, const float* const* x,
            int64_t num_tokens, float* out, int64_t out_stride) {
  if (num_tokens <= V::kTileTokens) {
    matmul_up_to<V, Row, V::kTileTokens>(weight, row_begin, row_end, x, num_tokens, out,
                                         out_stride);
    return;
  }
  int64_t block = kTokenBlockBytes / (weight.cols * 4) / V::kTileTokens * V::kTileTokens;
  if (block < V::kTileTokens) block = V::kTileTokens;
  if (block > kMaxTokenBlock) block = kMaxTokenBlock;
  for (int64_t t = 0; t < num_tokens; t += block) {
    matmul_block<V, Row>(weight, row_begin, row_end, x + t,
                         num_tokens - t < block ? num_tokens - t : block, out + t * out_stride,
                         out_stride);
  }
}

}  // namespace tetrad
