#include "checkpoint/weight.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/dtype.h"
#include "base/integer_math.h"

namespace tetrad {
namespace {

/// Element `index` of an array whose start need not be aligned.
template <class T>
T load(const std::byte* array, int64_t index) {
  T value;
  std::memcpy(&value, array + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

int64_t row_scale_bytes(const WeightMatrix& matrix) {
  switch (matrix.format) {
    case WeightFormat::mxfp4_16:
      return matrix.cols / kMxfp4GroupSize * int64_t{sizeof(uint16_t)};
    case WeightFormat::fp8_block:
      return ceil_div(matrix.cols, kFp8BlockSize) * int64_t{sizeof(float)};
    case WeightFormat::f32:
    case WeightFormat::f16:
    case WeightFormat::bf16:
      break;
  }
  return 0;
}

int64_t scale_rows(const WeightMatrix& matrix) {
  return matrix.format == WeightFormat::fp8_block ? ceil_div(matrix.rows, kFp8BlockSize)
                                                  : matrix.rows;
}

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

const std::array<float, 256>& e4m3_values() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> values{};
    for (size_t code = 0; code < values.size(); ++code)
      values[code] = f8_e4m3_to_float(static_cast<uint8_t>(code));
    return values;
  }();
  return table;
}

void dequantize_fp8_block(const WeightMatrix& matrix, const std::byte* codes,
                          const std::byte* scales, std::span<float> out) {
  const std::array<float, 256>& values = e4m3_values();
  for (int64_t begin = 0; begin < matrix.cols; begin += kFp8BlockSize) {
    const float scale = load<float>(scales, begin / kFp8BlockSize);
    const int64_t end = std::min(begin + kFp8BlockSize, matrix.cols);
    for (int64_t col = begin; col < end; ++col)
      out[static_cast<size_t>(col)] = values[std::to_integer<size_t>(codes[col])] * scale;
  }
}

}  // namespace

std::string_view weight_format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return "f32";
    case WeightFormat::f16:
      return "f16";
    case WeightFormat::bf16:
      return "bf16";
    case WeightFormat::mxfp4_16:
      return "mxfp4_16";
    case WeightFormat::fp8_block:
      return "fp8_block";
  }
  return "unknown";
}

int64_t WeightMatrix::row_bytes() const {
  switch (format) {
    case WeightFormat::f32:
      return cols * 4;
    case WeightFormat::f16:
    case WeightFormat::bf16:
      return cols * 2;
    case WeightFormat::mxfp4_16:
      return cols / 2;
    case WeightFormat::fp8_block:
      return cols;
  }
  return 0;
}

int64_t WeightMatrix::total_bytes() const {
  return rows * row_bytes() + scale_rows(*this) * row_scale_bytes(*this);
}

void dequantize_row(const WeightMatrix& matrix, int64_t row, std::span<float> out) {
  const std::byte* data = matrix.data + row * matrix.row_bytes();
  switch (matrix.format) {
    case WeightFormat::f32:
      std::memcpy(out.data(), data, static_cast<size_t>(matrix.row_bytes()));
      break;
    case WeightFormat::f16:
      for (int64_t col = 0; col < matrix.cols; ++col)
        out[static_cast<size_t>(col)] = f16_to_float(load<uint16_t>(data, col));
      break;
    case WeightFormat::bf16:
      for (int64_t col = 0; col < matrix.cols; ++col)
        out[static_cast<size_t>(col)] = bf16_to_float(load<uint16_t>(data, col));
      break;
    case WeightFormat::mxfp4_16:
      dequantize_mxfp4_16(matrix, data, matrix.scales + row * row_scale_bytes(matrix), out);
      break;
    case WeightFormat::fp8_block:
      dequantize_fp8_block(matrix, data,
                           matrix.scales + row / kFp8BlockSize * row_scale_bytes(matrix), out);
      break;
  }
}

}  // namespace tetrad
