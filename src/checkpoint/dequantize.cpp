// The values of a stored row. Codes are expanded by tables first, and the row is multiplied by its
// scales afterwards, group by group, in loops that compilers vectorise.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/integer_math.h"
#include "checkpoint/weight.h"

namespace tetrad {
namespace {

/// Element `index` of an array whose start need not be aligned.
template <class T>
T load(const std::byte* array, int64_t index) {
  T value;
  std::memcpy(&value, array + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

using Levels = std::array<float, 16>;

/// Bit 3 is the sign, the others are the magnitude's code.
constexpr Levels kE2m1Levels = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

constexpr Levels kInt4Levels = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};

Levels levels_of(const Codebook& codebook) {
  Levels levels{};
  std::copy(codebook.begin(), codebook.end(), levels.begin());
  return levels;
}

/// 2^(code - 127); code 255 is NaN, and code 0 a subnormal float.
float e8m0_to_float(uint8_t code) {
  if (code == 255) return std::nanf("");
  return std::bit_cast<float>(code == 0 ? 0x00400000u : uint32_t{code} << 23);
}

// ---- dense ----

void expand_f16(const std::byte* data, std::span<float> out) {
  for (size_t col = 0; col < out.size(); ++col)
    out[col] = f16_to_float(load<uint16_t>(data, static_cast<int64_t>(col)));
}

// ---- codes ----

void dequantize_mxfp4_16(const WeightMatrix& matrix, const std::byte* codes,
                         const std::byte* scales, std::span<float> out) {
  const int64_t groups = matrix.cols / kMxfp4GroupSize;
  float* next = out.data();
  for (int64_t group = 0; group < groups; ++group) {
    const float scale = f16_to_float(load<uint16_t>(scales, group));
    for (int64_t pair = 0; pair < kMxfp4GroupSize / 2; ++pair) {
      const auto byte = std::to_integer<unsigned>(*codes++);
      *next++ = static_cast<float>(matrix.codebook[byte & 15u]) * scale;
      *next++ = static_cast<float>(matrix.codebook[byte >> 4]) * scale;
    }
  }
}

/// Bytes `stride` apart, two codes in each; an odd last column is the first nibble of its byte.
void expand_nibbles(const std::byte* codes, int64_t stride, NibbleOrder order, const Levels& levels,
                    std::span<float> out) {
  const unsigned first = order == NibbleOrder::low_first ? 0 : 4;
  const unsigned second = 4 - first;
  const size_t pairs = out.size() / 2;
  float* next = out.data();
  for (size_t pair = 0; pair < pairs; ++pair, codes += stride) {
    const auto byte = std::to_integer<unsigned>(*codes);
    *next++ = levels[byte >> first & 15u];
    *next++ = levels[byte >> second & 15u];
  }
  if (out.size() % 2 != 0) *next = levels[std::to_integer<unsigned>(*codes) >> first & 15u];
}

void expand_float4(const WeightMatrix& matrix, int64_t row, const Levels& levels,
                   std::span<float> out) {
  const std::byte* first = matrix.data + (matrix.codes_transposed ? row : row * matrix.row_bytes());
  expand_nibbles(first, matrix.codes_transposed ? matrix.rows : 1, matrix.nibble_order, levels,
                 out);
}

void expand_codes(const WeightMatrix& matrix, int64_t row, std::span<float> out) {
  const std::byte* data = matrix.data + row * matrix.row_bytes();
  switch (matrix.format) {
    case WeightFormat::codebook4:
      return expand_float4(matrix, row, levels_of(matrix.codebook), out);
    case WeightFormat::mxfp4:
    case WeightFormat::nvfp4:
      return expand_float4(matrix, row, kE2m1Levels, out);
    case WeightFormat::int4:
      return expand_nibbles(data, 1, NibbleOrder::low_first, kInt4Levels, out);
    case WeightFormat::int8:
      for (size_t col = 0; col < out.size(); ++col)
        out[col] = static_cast<float>(std::to_integer<int>(data[col]) - 128);
      return;
    case WeightFormat::fp8_block:
    case WeightFormat::fp8: {
      const std::array<float, 256>& values = f8_e4m3_values();
      for (size_t col = 0; col < out.size(); ++col)
        out[col] = values[std::to_integer<size_t>(data[col])];
      return;
    }
    case WeightFormat::f32:
    case WeightFormat::f16:
    case WeightFormat::bf16:
    case WeightFormat::mxfp4_16:
      break;  // have loops of their own
  }
}

// ---- scales ----

/// The scales of one row.
class RowScales {
 public:
  RowScales(const WeightMatrix& matrix, int64_t row)
      : layout_(matrix.layout_of_scales()), scales_(matrix.scales) {
    const int64_t scale_row = row / layout_.rows_per_scale;
    groups_ = ceil_div(matrix.cols, layout_.cols_per_scale);
    first_ = layout_.transposed ? scale_row : scale_row * groups_;
    stride_ = layout_.transposed ? ceil_div(matrix.rows, layout_.rows_per_scale) : 1;
  }

  int64_t num_groups() const { return groups_; }
  int64_t group_size() const { return layout_.cols_per_scale; }
  float at(int64_t group) const {
    return read_scale(layout_.dtype, scales_, first_ + group * stride_);
  }

 private:
  ScaleLayout layout_;
  const std::byte* scales_;
  int64_t groups_ = 0;
  int64_t first_ = 0;
  int64_t stride_ = 1;
};

/// The zero point of one row's group, as it is subtracted from the signed code.
float zero_point(const WeightMatrix& matrix, int64_t row, int64_t group, int64_t num_groups) {
  if (matrix.zero_points == nullptr) return 0;
  const int64_t bits = integer_bits(matrix.format);
  const int64_t rows_per_word = 32 / bits;
  const auto word = load<uint32_t>(matrix.zero_points, row / rows_per_word * num_groups + group);
  const uint32_t code = word >> (row % rows_per_word * bits) & ((1u << bits) - 1);
  return static_cast<float>(static_cast<int>(code) - (1 << (bits - 1)));
}

/// Groups in any order of columns ("actorder").
void scale_by_column(const WeightMatrix& matrix, int64_t row, const RowScales& scales,
                     std::span<float> out) {
  struct Group {
    float scale, zero;
  };
  std::vector<Group> groups;
  groups.reserve(static_cast<size_t>(scales.num_groups()));
  for (int64_t group = 0; group < scales.num_groups(); ++group)
    groups.push_back({scales.at(group), zero_point(matrix, row, group, scales.num_groups())});
  for (size_t col = 0; col < out.size(); ++col) {
    const auto group = load<int32_t>(matrix.group_of_column, static_cast<int64_t>(col));
    const auto [scale, zero] = groups[static_cast<size_t>(group)];
    out[col] = (out[col] - zero) * scale;
  }
}

void scale_by_group(const WeightMatrix& matrix, int64_t row, const RowScales& scales,
                    std::span<float> out) {
  const int64_t size = scales.group_size();
  for (int64_t group = 0; group < scales.num_groups(); ++group) {
    const float scale = scales.at(group);
    const float zero = zero_point(matrix, row, group, scales.num_groups());
    const int64_t begin = group * size;
    const int64_t end = std::min(begin + size, matrix.cols);
    for (float* value = out.data() + begin; value != out.data() + end; ++value)
      *value = (*value - zero) * scale;
  }
}

void dequantize_scaled(const WeightMatrix& matrix, int64_t row, std::span<float> out) {
  expand_codes(matrix, row, out);
  const RowScales scales(matrix, row);
  if (matrix.group_of_column != nullptr) {
    scale_by_column(matrix, row, scales, out);
  } else {
    scale_by_group(matrix, row, scales, out);
  }
  if (matrix.format != WeightFormat::nvfp4) return;
  // E2M1 times E4M3 is exact, so this is the only rounding.
  for (float& value : out) {
    value =
        matrix.divide_by_global_scale ? value / matrix.global_scale : value * matrix.global_scale;
  }
}

}  // namespace

float read_scale(DType dtype, const std::byte* scales, int64_t index) {
  switch (dtype) {
    case DType::f16:
      return f16_to_float(load<uint16_t>(scales, index));
    case DType::bf16:
      return bf16_to_float(load<uint16_t>(scales, index));
    case DType::f8_e4m3:
      return f8_e4m3_values()[std::to_integer<size_t>(scales[index])];
    case DType::f8_e8m0:
      return e8m0_to_float(std::to_integer<uint8_t>(scales[index]));
    default:
      return load<float>(scales, index);
  }
}

void dequantize_row(const WeightMatrix& matrix, int64_t row, std::span<float> out) {
  out = out.first(static_cast<size_t>(matrix.cols));
  const std::byte* data = matrix.data + row * matrix.row_bytes();
  switch (matrix.format) {
    case WeightFormat::f32:
      std::memcpy(out.data(), data, out.size_bytes());
      break;
    case WeightFormat::f16:
      expand_f16(data, out);
      break;
    case WeightFormat::bf16:
      for (int64_t col = 0; col < matrix.cols; ++col)
        out[static_cast<size_t>(col)] = bf16_to_float(load<uint16_t>(data, col));
      break;
    case WeightFormat::mxfp4_16:
      dequantize_mxfp4_16(matrix, data, matrix.scales + row * (matrix.cols / kMxfp4GroupSize) * 2,
                          out);
      break;
    case WeightFormat::fp8_block:
    case WeightFormat::codebook4:
    case WeightFormat::fp8:
    case WeightFormat::int4:
    case WeightFormat::int8:
    case WeightFormat::mxfp4:
    case WeightFormat::nvfp4:
      dequantize_scaled(matrix, row, out);
      break;
  }
}

}  // namespace tetrad
