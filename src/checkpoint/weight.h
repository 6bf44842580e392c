#pragma once

// What a weight matrix looks like in memory. Weights stay packed until the register: every kernel
// takes a WeightMatrix, and no code path expands a model in memory.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tetrad {

enum class WeightFormat : uint8_t {
  f32,        // data: F32 [rows, cols]
  f16,        // data: F16 [rows, cols]
  bf16,       // data: BF16 [rows, cols]
  mxfp4_16,   // data: U8 [rows, cols/2], scales: F16 [rows, cols/16]
  fp8_block,  // data: F8_E4M3 [rows, cols], scales: F32 [ceil(rows/128), ceil(cols/128)]
};

std::string_view weight_format_name(WeightFormat format);

/// The 16 levels a 4-bit code stands for.
using Codebook = std::array<int8_t, 16>;

/// The IQ4_NL levels (mxfp4_16 spec, section 1.1). There is no zero among them.
inline constexpr Codebook kIq4NlCodebook = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

inline constexpr int64_t kMxfp4GroupSize = 16;
inline constexpr int64_t kFp8BlockSize = 128;

/// W[rows, cols] = [out_features, in_features], row-major, as torch.nn.Linear stores it. Owns
/// nothing: the pointers lead into the mapped checkpoint, whose tensors need not be aligned to
/// their element size, so read multi-byte elements with memcpy or unaligned loads.
///
/// mxfp4_16: byte b of a row holds column 2b in its low and column 2b+1 in its high nibble, and
///   W[n, k] = codebook[code(n, k)] * scale[n, k / 16].
/// The FP16 scale may be negative, subnormal or zero.
struct WeightMatrix {
  WeightFormat format = WeightFormat::f32;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;
  const std::byte* scales = nullptr;
  Codebook codebook = kIq4NlCodebook;

  /// Bytes of one row of `data`.
  int64_t row_bytes() const;
  /// Bytes of data and scales together.
  int64_t total_bytes() const;
};

/// Expands one row to float, exactly (products in float32). out: [cols].
void dequantize_row(const WeightMatrix& matrix, int64_t row, std::span<float> out);

}  // namespace tetrad
