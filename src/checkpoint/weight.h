#pragma once

// What a weight matrix looks like in memory. Weights stay packed until the register: every kernel
// takes a WeightMatrix, and no code path expands a model in memory.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/dtype.h"

namespace tetrad {

enum class WeightFormat : uint8_t {
  f32,        // data: F32 [rows, cols]
  f16,        // data: F16 [rows, cols]
  bf16,       // data: BF16 [rows, cols]
  mxfp4_16,   // data: U8 [rows, cols/2], scales: F16 [rows, cols/16]
  fp8_block,  // data: F8_E4M3 [rows, cols], scales: F32 [ceil(rows/128), ceil(cols/128)]
  // Formats of other programs, which are read but not written for serving. Their scales are laid
  // out as WeightMatrix::scale_layout says.
  codebook4,  // as mxfp4_16, with scales of another dtype, group size or orientation
  fp8,        // data: F8_E4M3 [rows, cols]; a scale a matrix, a row or a block of 128 x 128
  int4,       // data: I32 [rows, ceil(cols/8)], 4 bits a column from the lowest; value + 8
  int8,       // data: I32 [rows, ceil(cols/4)], 8 bits a column from the lowest; value + 128
  mxfp4,      // data: U8 [rows, cols/2] of E2M1, scales: E8M0
  nvfp4,      // data: U8 [rows, cols/2] of E2M1, scales: F8_E4M3, and one global scale
};

std::string_view weight_format_name(WeightFormat format);

/// Bits of a code of int4 or int8, which are packed into 32-bit words.
int64_t integer_bits(WeightFormat format);

/// The 16 levels a 4-bit code stands for.
using Codebook = std::array<int8_t, 16>;

/// The IQ4_NL levels (mxfp4_16 spec, section 1.1). There is no zero among them.
inline constexpr Codebook kIq4NlCodebook = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

inline constexpr int64_t kMxfp4GroupSize = 16;
inline constexpr int64_t kFp8BlockSize = 128;

/// How the two codes of a byte are ordered: low first everywhere but where config.json says else.
enum class NibbleOrder : uint8_t { low_first, high_first };

/// Which scale belongs to a weight: W[n, k] has the one of row n / rows_per_scale and column
/// k / cols_per_scale.
struct ScaleLayout {
  DType dtype = DType::f32;  // F32, F16, BF16, F8_E4M3 or F8_E8M0
  int64_t rows_per_scale = 1;
  int64_t cols_per_scale = 1;  // the group size
  bool transposed = false;     // stored [columns of scales, rows of scales]
};

/// W[rows, cols] = [out_features, in_features], row-major, as torch.nn.Linear stores it. Owns
/// nothing: the pointers lead into the mapped checkpoint, whose tensors need not be aligned to
/// their element size, so read multi-byte elements with memcpy or unaligned loads.
///
/// mxfp4_16, codebook4: byte b of a row holds column 2b in its low and column 2b+1 in its high
///   nibble, and W[n, k] = codebook[code(n, k)] * scale[n, k / 16].
/// The FP16 scale may be negative, subnormal or zero.
/// int4, int8: W = (q - zero point) * scale. mxfp4: W = e2m1 * scale.
/// nvfp4: W = e2m1 * scale, divided by the global scale or multiplied with it.
struct WeightMatrix {
  WeightFormat format = WeightFormat::f32;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;
  const std::byte* scales = nullptr;
  Codebook codebook = kIq4NlCodebook;

  // Of the formats of other programs alone.
  ScaleLayout scale_layout = {};
  /// int4, int8: I32 [ceil(rows * bits / 32), groups], packed along the rows as the codes are along
  /// the columns; null: all 0.
  const std::byte* zero_points = nullptr;
  /// int4, int8: I32 [cols], the group of each column, each checked to be one; null: k / group
  /// size.
  const std::byte* group_of_column = nullptr;
  float global_scale = 1;  // nvfp4
  bool divide_by_global_scale = false;
  NibbleOrder nibble_order = NibbleOrder::low_first;
  bool codes_transposed = false;  // 4-bit floats and codebooks: data is [cols/2, rows]

  bool is_dense() const;
  /// Whether scale_layout, and not the format alone, says where the scales stand.
  bool has_own_layout() const;
  /// Where the scales of the format stand, for formats with one layout only too.
  ScaleLayout layout_of_scales() const;
  int64_t num_scales() const;
  /// Bytes of one row of `data`.
  int64_t row_bytes() const;
  /// Bytes of data, scales, zero points and groups together.
  int64_t total_bytes() const;
};

/// Element `index` of an array of scales.
float read_scale(DType dtype, const std::byte* scales, int64_t index);

/// Expands one row to float, exactly (products in float32). out: [cols].
void dequantize_row(const WeightMatrix& matrix, int64_t row, std::span<float> out);

}  // namespace tetrad
