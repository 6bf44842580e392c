#pragma once

// mxfp4_16 weights times activations in 8 bits (Int8Block), over what int8_*.h gives.
//
// The products of one group of 16 add up in integers, exactly. Every output is then one chain: lane
// i adds (weight scale * activation scale) * sum of group 16 j + i for ascending j, and the lanes
// are added by a fixed tree. How rows and tokens are tiled never touches it, so a row of the result
// has the same bits in every batch.
//
// A group costs four vector multiply-adds and, on other units, a conversion, a product of scales
// and an addition; the weights of a few rows are decoded into registers once for all tokens, whose
// sums wait in the L1 cache.

#include "kernels/cpu/matmul.h"
#include "kernels/int8_block.h"

namespace tetrad {

// ---- activations ----

/// Columns begin … end - 1 of a row of `cols`, whose blocks start at `blocks`; begin and end are
/// multiples of 16 and x points to column `begin`.
template <class V>
void quantize_int8(const float* x, int64_t begin, int64_t end, int64_t cols, Int8Block* blocks) {
  for (int64_t k = begin; k < end; k += kInt8GroupSize) {
    Int8Block& block = blocks[k / kInt8BlockSize];
    const int64_t group = k % kInt8BlockSize / kInt8GroupSize;
    const typename V::Reg values = V::load(x + (k - begin));
    const int bits = V::largest_magnitude_bits(values);
    float largest = 0;
    __builtin_memcpy(&largest, &bits, sizeof largest);
    const bool is_number = bits < 0x7F800000;
    const bool is_zero = !is_number || largest < kInt8Smallest;
    const float inverse = is_zero ? 0.0f : 127.0f / largest;
    signed char ordered[kInt8GroupSize];
    const int sum = V::round_group(is_zero ? V::zero() : V::mul(values, V::set(inverse)), ordered);
    for (int64_t row = 0; row < 4; ++row)
      __builtin_memcpy(block.values[row] + 4 * group, ordered + 4 * row, 4);
    block.offset[group] = -128 * sum;
    block.scale[group] = !is_number ? __builtin_nanf("") : is_zero ? 0.0f : largest / 127.0f;
  }
  if (end < cols) return;
  for (int64_t k = cols; k % kInt8BlockSize != 0; k += kInt8GroupSize) {
    Int8Block& block = blocks[k / kInt8BlockSize];
    const int64_t group = k % kInt8BlockSize / kInt8GroupSize;
    for (auto& row : block.values)
      __builtin_memset(row + 4 * group, 0, 4);
    block.offset[group] = 0;
    block.scale[group] = 0;
  }
}

// ---- weights ----

/// Memory is fastest when it is read in the order of its addresses, and the blocks of several rows
/// are not: so they are asked for in that order, some rows ahead of where they are needed, and
/// after the last row where the thread goes on. Going beyond the matrix is harmless.
template <class V>
class Int8Prefetch {
 public:
  /// Of `row` and those after it, where the last row is the one before row_end.
  Int8Prefetch(const MatrixRows& weight, int64_t row, int64_t row_end)
      : codes_(weight.data + row * weight.row_bytes),
        scales_(weight.scales + row * weight.scale_row_bytes) {
    if (row >= row_end && weight.next_data != nullptr) [[unlikely]] {
      codes_ = weight.next_data + (row - row_end) * weight.row_bytes;
      scales_ = weight.next_scales + (row - row_end) * weight.scale_row_bytes;
    }
  }

  void next_block() {
    prefetch<V, 128>(codes_);
    prefetch<V, 32>(scales_);
    codes_ += 128;
    scales_ += 32;
  }

 private:
  const unsigned char* codes_;
  const unsigned char* scales_;
};

/// So many bytes of codes, or a little more, are asked for ahead; with their scales a quarter of an
/// L1 cache.
inline constexpr int64_t kInt8BytesAhead = 8 << 10;

/// In whole steps of `step` rows, so that the last ones ask for all that comes first in what is
/// next.
inline int64_t int8_rows_ahead(const MatrixRows& weight, int64_t step) {
  const int64_t step_bytes = step * weight.row_bytes;
  return (kInt8BytesAhead + step_bytes - 1) / step_bytes * step;
}

/// One block of 256 columns of R rows, decoded.
template <class V, int R>
struct Int8Weights {
  typename V::Bytes levels[R][4];
  typename V::Reg scales[R];
};

/// Rows first … first + R - 1; those from row_end on repeat the last, and their results are
/// dropped.
template <class V, int R>
[[gnu::always_inline]] inline void decode_int8(const MatrixRows& weight,
                                               typename V::ByteLevels levels, int64_t first,
                                               int64_t row_end, int64_t block,
                                               Int8Prefetch<V>& ahead, Int8Weights<V, R>& decoded) {
  const int64_t groups = weight.cols / kInt8GroupSize - block * kInt8Groups;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const int64_t row = first + r < row_end ? first + r : row_end - 1;
    const unsigned char* codes = weight.data + row * weight.row_bytes + block * 128;
    const unsigned char* scales =
        weight.scales + row * weight.scale_row_bytes + block * kInt8Groups * 2;
    ahead.next_block();
    if (groups >= kInt8Groups) [[likely]] {
      V::look_up_block(codes, levels, decoded.levels[r]);
      decoded.scales[r] = V::widen_f16(scales);
    } else {
      unsigned char padded[128] = {};
      __builtin_memcpy(padded, codes, static_cast<uint64_t>(groups) * 8);
      V::look_up_block(padded, levels, decoded.levels[r]);
      decoded.scales[r] = widen_partial<V, F16Element<V>>(scales, groups);
    }
  }
}

/// sum + the products of one block of row r.
template <class V, int R>
[[gnu::always_inline]] inline typename V::Reg add_block(const Int8Weights<V, R>& weights, int r,
                                                        const Int8Block& x, typename V::Reg scale,
                                                        typename V::Reg sum) {
  typename V::Ints products = V::first_sum(x.offset);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    products = V::dot(products, weights.levels[r][i], x.values[i]);
  return V::fma(V::to_float(products), V::mul(weights.scales[r], scale), sum);
}

// ---- few tokens: sums stay in registers, and memory is the limit ----

inline constexpr int kInt8FewTokens = 4;

/// T tokens. Two rows at a time are read nearly in the order of their addresses.
template <class V, int T>
void multiply_int8_few(const MatrixRows& weight, int64_t row_begin, int64_t row_end,
                       const Int8Block* const* x, float* out, int64_t out_stride) {
  constexpr int R = V::kInt8Rows < 2 ? V::kInt8Rows : 2;
  const typename V::ByteLevels levels = V::byte_levels(weight.codebook);
  const int64_t num_blocks = int8_blocks_for(weight.cols);
  const int64_t rows_ahead = int8_rows_ahead(weight, R);
  for (int64_t n = row_begin; n < row_end; n += R) {
    Int8Prefetch<V> ahead(weight, n + rows_ahead, row_end);
    typename V::Reg sums[R][T];
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t)
        sums[r][t] = V::zero();
    }
    for (int64_t block = 0; block < num_blocks; ++block) {
      Int8Weights<V, R> weights;
      decode_int8<V, R>(weight, levels, n, row_end, block, ahead, weights);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const typename V::Reg scale = V::load(x[t][block].scale);
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r)
          sums[r][t] = add_block<V, R>(weights, r, x[t][block], scale, sums[r][t]);
      }
    }
    store_sums<V, R, T>(sums, row_end - n < R ? row_end - n : R, out + n, out_stride);
  }
}

/// num_tokens <= T, by the instance made for that number.
template <class V, int T>
void multiply_int8_up_to(const MatrixRows& weight, int64_t row_begin, int64_t row_end,
                         const Int8Block* const* x, int64_t num_tokens, float* out,
                         int64_t out_stride) {
  if (num_tokens >= T) {
    multiply_int8_few<V, T>(weight, row_begin, row_end, x, out, out_stride);
  } else if constexpr (T > 1) {
    multiply_int8_up_to<V, T - 1>(weight, row_begin, row_end, x, num_tokens, out, out_stride);
  }
}

// ---- several tokens: sums wait in memory ----

/// Rows whose sums wait at a time: a cache line of outputs; and tokens, so that sums (24 KiB) and a
/// block of their activations (9 KiB) stay in the L1 cache.
inline constexpr int64_t kInt8TileRows = 16;
inline constexpr int64_t kInt8TileTokens = 24;
/// With fewer tokens than this memory is the limit, and it likes few rows at a time.
inline constexpr int64_t kInt8ManyTokens = 8;

/// Running sums of some rows for each token of a tile, lane by lane.
template <class V, int64_t kTileRows>
struct Int8Sums {
  static constexpr int R = V::kInt8Rows;
  static_assert(kTileRows % R == 0);
  alignas(64) float lanes[kTileRows / R][kInt8TileTokens][R][kLanes];

  float* of(int64_t row, int64_t token) { return lanes[row / R][token][row % R]; }
};

/// One block of R rows for all tokens of a tile. asks_ahead: for the last rows that want this
/// block; all blocks of all tokens are more than the L1 cache holds, so that the next one has to
/// come.
template <class V, bool kIsFirstBlock>
[[gnu::always_inline]] inline void add_block_of_tokens(const Int8Weights<V, V::kInt8Rows>& weights,
                                                       const Int8Block* const* x, int64_t block,
                                                       int64_t num_tokens, bool asks_ahead,
                                                       float (*sums)[V::kInt8Rows][kLanes]) {
  for (int64_t t = 0; t < num_tokens; ++t) {
    if (asks_ahead) {
      prefetch<V, sizeof(Int8Block)>(reinterpret_cast<const unsigned char*>(&x[t][block + 1]));
    }
    const typename V::Reg scale = V::load(x[t][block].scale);
#pragma GCC unroll 8
    for (int r = 0; r < V::kInt8Rows; ++r) {
      const typename V::Reg sum = kIsFirstBlock ? V::zero() : V::load(sums[t][r]);
      V::store(sums[t][r], add_block<V, V::kInt8Rows>(weights, r, x[t][block], scale, sum));
    }
  }
}

/// num_tokens <= kInt8TileTokens, kTileRows rows at a time.
template <class V, int64_t kTileRows>
void multiply_int8_tile(const MatrixRows& weight, int64_t row_begin, int64_t row_end,
                        const Int8Block* const* x, int64_t num_tokens, float* out,
                        int64_t out_stride) {
  constexpr int R = V::kInt8Rows;
  const typename V::ByteLevels levels = V::byte_levels(weight.codebook);
  const int64_t num_blocks = int8_blocks_for(weight.cols);
  const int64_t rows_ahead =
      kTileRows == kInt8TileRows ? kTileRows : int8_rows_ahead(weight, kTileRows);
  Int8Sums<V, kTileRows> sums;
  for (int64_t n = row_begin; n < row_end; n += kTileRows) {
    Int8Prefetch<V> ahead(weight, n + rows_ahead, row_end);
    for (int64_t block = 0; block < num_blocks; ++block) {
      for (int64_t first = 0; first < kTileRows; first += R) {
        Int8Weights<V, R> weights;
        decode_int8<V, R>(weight, levels, n + first, row_end, block, ahead, weights);
        const bool asks_ahead = kTileRows == kInt8TileRows && first + R == kTileRows;
        auto& tile_sums = sums.lanes[first / R];
        if (block == 0) {
          add_block_of_tokens<V, true>(weights, x, block, num_tokens, asks_ahead, tile_sums);
        } else {
          add_block_of_tokens<V, false>(weights, x, block, num_tokens, asks_ahead, tile_sums);
        }
      }
    }
    const int64_t num_rows = row_end - n < kTileRows ? row_end - n : kTileRows;
    for (int64_t t = 0; t < num_tokens; ++t) {
      float* outputs = out + t * out_stride + n;
      if constexpr (kTileRows == kLanes) {
        typename V::Reg lanes[kLanes];
#pragma GCC unroll 16
        for (int64_t r = 0; r < kLanes; ++r)
          lanes[r] = V::load(sums.of(r, t));
        // One store: a copy of unknown length costs a tenth of the time of the whole tile.
        if (num_rows == kLanes) [[likely]] {
          V::store(outputs, V::sums_of_16(lanes));
          continue;
        }
      }
      for (int64_t r = 0; r < num_rows; ++r)
        outputs[r] = V::sum_of_lanes(V::load(sums.of(r, t)));
    }
  }
}

/// SimdKernels::MatMulInt8
template <class V>
void matmul_mxfp4_int8(const MatrixRows& weight, int64_t row_begin, int64_t row_end,
                       const Int8Block* const* x, int64_t num_tokens, float* out,
                       int64_t out_stride) {
  if (num_tokens <= kInt8FewTokens) {
    return multiply_int8_up_to<V, kInt8FewTokens>(weight, row_begin, row_end, x, num_tokens, out,
                                                  out_stride);
  }
  if (num_tokens < kInt8ManyTokens) {
    return multiply_int8_tile<V, 4>(weight, row_begin, row_end, x, num_tokens, out, out_stride);
  }
  const int64_t num_tiles = (num_tokens + kInt8TileTokens - 1) / kInt8TileTokens;
  const int64_t tile = (num_tokens + num_tiles - 1) / num_tiles;
  for (int64_t t = 0; t < num_tokens; t += tile) {
    multiply_int8_tile<V, kInt8TileRows>(weight, row_begin, row_end, x + t,
                                         num_tokens - t < tile ? num_tokens - t : tile,
                                         out + t * out_stride, out_stride);
  }
}

}  // namespace tetrad
