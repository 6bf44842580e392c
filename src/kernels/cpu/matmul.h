#pragma once

// Matrix times some vectors, for every weight format, over a vector type V (vector_*.h).
//
// Every output is one chain: lane i adds W[n, 16j + i] * x[16j + i] for ascending j, then the lanes
// are added by a fixed tree. W[n, k] is the same float whether it is decoded in a register (few
// tokens) or once into a buffer for many tokens, and the way outputs are tiled never touches the
// chain; so a row of the result has the same bits in every batch.

#include "kernels/cpu/simd_kernels.h"
#include "kernels/cpu/weight_rows.h"

namespace tetrad {

// ---- the inner loop ----

/// sums[r][t] += columns begin … end - 1 of rows[r] times those of x[t], lane by lane.
/// begin is a multiple of kChunk.
template <class V, class Row, int R, int T>
void accumulate(Row (&rows)[R], typename Row::Shared shared, const float* const* x, int64_t begin,
                int64_t end, typename V::Reg (&sums)[R][T]) {
  const float* columns[T];
  for (int t = 0; t < T; ++t)
    columns[t] = x[t];
  // A copy, whose address nobody has: it stays in registers.
  typename V::Reg local[R][T];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
      local[r][t] = sums[r][t];
  }
  const int64_t whole = end - end % kLanes;
  for (int64_t chunk = begin; chunk < end; chunk += kChunk) {
    const int64_t chunk_end = chunk + kChunk < end ? chunk + kChunk : end;
    for (int r = 0; r < R; ++r)
      rows[r].prepare(chunk, chunk_end);
    for (int64_t k = chunk; k + kLanes <= chunk_end; k += kLanes) {
      typename V::Reg activations[T];
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t)
        activations[t] = V::load(columns[t] + k);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const typename V::Reg weights = rows[r].load(k, shared);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t)
          local[r][t] = V::fma(weights, activations[t], local[r][t]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
      sums[r][t] = local[r][t];
  }
  if (whole == end) return;
  for (int r = 0; r < R; ++r) {
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

// ---- few tokens: weights are decoded in registers ----

/// Rows of a tile that is T tokens wide.
template <class V, int T>
inline constexpr int kRowsFor = V::kSums / T < V::kMaxTileRows ? V::kSums / T : V::kMaxTileRows;

template <class V, class Row, int T>
void matmul_in_registers(const MatrixRows& weight, int64_t row_begin, int64_t row_end,
                         const float* const* x, float* out, int64_t out_stride) {
  constexpr int R = kRowsFor<V, T>;
  const typename Row::Shared shared = Row::shared(weight);
  for (int64_t n = row_begin; n < row_end; n += R) {
    Row rows[R];
    open_rows(weight, n, row_end, rows);
    typename V::Reg sums[R][T];
    for (auto& row_sums : sums) {
      for (auto& sum : row_sums)
        sum = V::zero();
    }
    accumulate<V, Row, R, T>(rows, shared, x, 0, weight.cols, sums);
    store_sums<V, R, T>(sums, row_end - n < R ? row_end - n : R, out + n, out_stride);
  }
}

// ---- many tokens: a block of weights is decoded once for a block of tokens ----

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
void decode(Row (&rows)[R], typename Row::Shared shared, int64_t begin, int64_t end,
            float (&weights)[R][kColumnBlock]) {
  const int64_t whole = end - end % kLanes;
  for (int r = 0; r < R; ++r) {
    for (int64_t chunk = begin; chunk < end; chunk += kChunk) {
      const int64_t chunk_end = chunk + kChunk < end ? chunk + kChunk : end;
      rows[r].prepare(chunk, chunk_end);
      for (int64_t k = chunk; k < chunk_end && k < whole; k += kLanes)
        V::store(weights[r] + (k - begin), rows[r].load(k, shared));
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
  using Row = DenseRow<V, F32Element<V>, false>;
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
  accumulate<V, Row, R, T>(rows, {}, columns, 0, count, sums);
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
  const typename Row::Shared shared = Row::shared(weight);
  DecodedTile<V> tile;
  for (int64_t n = row_begin; n < row_end; n += R) {
    Row rows[R];
    open_rows(weight, n, row_end, rows);
    for (int64_t begin = 0; begin < weight.cols; begin += kColumnBlock) {
      const int64_t end = begin + kColumnBlock < weight.cols ? begin + kColumnBlock : weight.cols;
      decode<V>(rows, shared, begin, end, tile.weights);
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

// ---- the entry ----

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
