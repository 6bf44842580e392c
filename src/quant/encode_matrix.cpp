#include "quant/encode_matrix.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "quant/encode_formats.h"
#include "quant/row_blocks.h"

namespace tetrad {
namespace {

/// Rows that must be known before the first of them can be written.
int64_t rows_at_once(TargetFormat format) {
  return format == TargetFormat::fp8_block ? kFp8BlockSize : 1;
}

/// Of the whole matrix, which is read once for it.
Result<float> largest_magnitude(std::string_view module, const WeightMatrix& source,
                                ThreadPool& pool) {
  std::vector<float> of_rows(static_cast<size_t>(source.rows));
  const auto keep_largest = [&](int64_t row, std::span<const float> weights, QuantizationLoss&) {
    for (const float weight : weights) {
      float& amax = of_rows[static_cast<size_t>(row)];
      amax = std::max(amax, std::abs(weight));
    }
  };
  TETRAD_TRY(encode_row_blocks(module, source, 1, pool, [&] { return keep_largest; }));
  return of_rows.empty() ? 0.0f : *std::ranges::max_element(of_rows);
}

}  // namespace

std::string_view target_format_name(TargetFormat format) {
  switch (format) {
    case TargetFormat::mxfp4_16:
      return "mxfp4_16";
    case TargetFormat::mxfp4:
      return "mxfp4";
    case TargetFormat::nvfp4:
      return "nvfp4";
    case TargetFormat::fp8_block:
      return "fp8_block";
    case TargetFormat::bf16:
      return "bf16";
  }
  return "unknown";
}

void QuantizationLoss::add(const QuantizationLoss& other) {
  groups += other.groups;
  negative_scales += other.negative_scales;
  subnormal_scales += other.subnormal_scales;
  zero_scales += other.zero_scales;
  clipped_scales += other.clipped_scales;
  energy += other.energy;
  squared_error += other.squared_error;
}

void QuantizationLoss::count_f16_scale(float scale) {
  constexpr float kSmallestNormal = 0x1p-14f;
  constexpr float kLargest = 65504;
  ++groups;
  negative_scales += scale < 0 ? 1 : 0;
  zero_scales += scale == 0 ? 1 : 0;
  subnormal_scales += scale != 0 && std::abs(scale) < kSmallestNormal ? 1 : 0;
  clipped_scales += std::abs(scale) == kLargest ? 1 : 0;
}

void QuantizationLoss::count_error(double weight, double difference) {
  energy += weight * weight;
  squared_error += difference * difference;
}

double QuantizationLoss::relative_rms_error() const {
  return energy > 0 ? std::sqrt(squared_error / energy) : 0.0;
}

int64_t TensorLayout::bytes() const {
  auto count = static_cast<int64_t>(dtype_size(dtype));
  for (const int64_t dim : shape)
    count *= dim;
  return count;
}

int64_t channels_of_a_scale(TargetFormat format) {
  switch (format) {
    case TargetFormat::mxfp4_16:
    case TargetFormat::nvfp4:
      return kMxfp4GroupSize;
    case TargetFormat::mxfp4:
      return 2 * kMxfp4GroupSize;
    case TargetFormat::fp8_block:  // whose blocks at the edge may be partial
    case TargetFormat::bf16:
      break;
  }
  return 1;
}

Result<void> check_channels(std::string_view module, TargetFormat format, int64_t cols) {
  const int64_t channels = channels_of_a_scale(format);
  if (cols % channels == 0) return {};
  return fail(ErrorCode::unsupported,
              "module \"{}\" has {} input channels, which {} cannot cut into groups of {}", module,
              cols, target_format_name(format), channels);
}

std::vector<TensorLayout> encoded_layout(TargetFormat format, int64_t rows, int64_t cols) {
  const auto packed = [&] { return TensorLayout{"weight_packed", DType::u8, {rows, cols / 2}}; };
  switch (format) {
    case TargetFormat::mxfp4_16:
      return {packed(), {"weight_scale", DType::f16, {rows, cols / 16}}};
    case TargetFormat::mxfp4:
      return {packed(), {"weight_scale", DType::u8, {rows, cols / 32}}};
    case TargetFormat::nvfp4:
      return {packed(),
              {"weight_scale", DType::f8_e4m3, {rows, cols / 16}},
              {"weight_global_scale", DType::f32, {1}}};
    case TargetFormat::fp8_block:
      return {{"weight", DType::f8_e4m3, {rows, cols}},
              {"weight_scale_inv",
               DType::f32,
               {(rows + kFp8BlockSize - 1) / kFp8BlockSize,
                (cols + kFp8BlockSize - 1) / kFp8BlockSize}}};
    case TargetFormat::bf16:
      return {{"weight", DType::bf16, {rows, cols}}};
  }
  return {};
}

EncodedMatrix empty_encoding(TargetFormat format, int64_t rows, int64_t cols) {
  EncodedMatrix result;
  for (const TensorLayout& tensor : encoded_layout(format, rows, cols))
    result.tensors.emplace_back(static_cast<size_t>(tensor.bytes()));
  return result;
}

Result<EncodedMatrix> encode_matrix(std::string_view module, const WeightMatrix& source,
                                    const EncodeOptions& options, std::span<const float> importance,
                                    ThreadPool& pool) {
  TETRAD_TRY(check_channels(module, options.format, source.cols));
  if (!importance.empty() && std::cmp_not_equal(importance.size(), source.cols)) {
    return fail(ErrorCode::internal, "module \"{}\" has {} input channels, its importance {}",
                module, source.cols, importance.size());
  }
  // One format alone has a scale of the whole matrix.
  float amax = 0;
  if (options.format == TargetFormat::nvfp4) {
    TETRAD_ASSIGN(amax, largest_magnitude(module, source, pool));
  }
  EncodedMatrix result = empty_encoding(options.format, source.rows, source.cols);
  const RowEncoder encoder(options, importance, source.cols, amax, result.tensors);
  const auto encode = [&](int64_t first_row, std::span<const float> weights,
                          QuantizationLoss& loss) { encoder.encode(first_row, weights, loss); };
  TETRAD_ASSIGN(result.loss, encode_row_blocks(module, source, rows_at_once(options.format), pool,
                                               [&] { return encode; }));
  return result;
}

}  // namespace tetrad
