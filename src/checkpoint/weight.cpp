#include "checkpoint/weight.h"

#include "base/integer_math.h"

namespace tetrad {
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
    case WeightFormat::codebook4:
      return "codebook4";
    case WeightFormat::fp8:
      return "fp8";
    case WeightFormat::int4:
      return "int4";
    case WeightFormat::int8:
      return "int8";
    case WeightFormat::mxfp4:
      return "mxfp4";
    case WeightFormat::nvfp4:
      return "nvfp4";
  }
  return "unknown";
}

int64_t integer_bits(WeightFormat format) {
  return format == WeightFormat::int4 ? 4 : 8;
}

ScaleLayout WeightMatrix::layout_of_scales() const {
  switch (format) {
    case WeightFormat::mxfp4_16:
      return {.dtype = DType::f16, .cols_per_scale = kMxfp4GroupSize};
    case WeightFormat::fp8_block:
      return {.rows_per_scale = kFp8BlockSize, .cols_per_scale = kFp8BlockSize};
    case WeightFormat::f32:
    case WeightFormat::f16:
    case WeightFormat::bf16:
    case WeightFormat::codebook4:
    case WeightFormat::fp8:
    case WeightFormat::int4:
    case WeightFormat::int8:
    case WeightFormat::mxfp4:
    case WeightFormat::nvfp4:
      break;
  }
  return scale_layout;
}

bool WeightMatrix::is_dense() const {
  return format == WeightFormat::f32 || format == WeightFormat::f16 || format == WeightFormat::bf16;
}

bool WeightMatrix::has_own_layout() const {
  return !is_dense() && format != WeightFormat::mxfp4_16 && format != WeightFormat::fp8_block;
}

int64_t WeightMatrix::num_scales() const {
  if (is_dense()) return 0;
  const ScaleLayout layout = layout_of_scales();
  return ceil_div(rows, layout.rows_per_scale) * ceil_div(cols, layout.cols_per_scale);
}

int64_t WeightMatrix::row_bytes() const {
  switch (format) {
    case WeightFormat::f32:
      return cols * 4;
    case WeightFormat::f16:
    case WeightFormat::bf16:
      return cols * 2;
    case WeightFormat::mxfp4_16:
    case WeightFormat::codebook4:
    case WeightFormat::mxfp4:
    case WeightFormat::nvfp4:
      return cols / 2;
    case WeightFormat::fp8_block:
    case WeightFormat::fp8:
      return cols;
    case WeightFormat::int4:
    case WeightFormat::int8:
      return ceil_div(cols * integer_bits(format), 32) * 4;
  }
  return 0;
}

int64_t WeightMatrix::total_bytes() const {
  int64_t bytes = rows * row_bytes() +
                  num_scales() * static_cast<int64_t>(dtype_size(layout_of_scales().dtype));
  if (zero_points != nullptr) {
    bytes +=
        ceil_div(rows * integer_bits(format), 32) * 4 * ceil_div(cols, scale_layout.cols_per_scale);
  }
  if (group_of_column != nullptr) bytes += cols * int64_t{sizeof(int32_t)};
  if (format == WeightFormat::nvfp4) bytes += int64_t{sizeof(float)};
  return bytes;
}

}  // namespace tetrad
