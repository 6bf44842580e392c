#include "quant/encode_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "quant/encode_formats.h"

namespace tetrad {
namespace {

/// The column of the first weight that is NaN or infinite, -1 when there is none.
int64_t find_not_finite(std::span<const float> row) {
  for (size_t col = 0; col < row.size(); ++col) {
    if (!std::isfinite(row[col])) return static_cast<int64_t>(col);
  }
  return -1;
}

/// Columns that share a scale, and of which a row must be a multiple.
int64_t group_of(TargetFormat format) {
  switch (format) {
    case TargetFormat::mxfp4_16:
    case TargetFormat::nvfp4:
      return kMxfp4GroupSize;
    case TargetFormat::mxfp4:
      return 2 * kMxfp4GroupSize;
    case TargetFormat::fp8_block:
    case TargetFormat::bf16:
      break;
  }
  return 1;
}

/// Rows that must be known before the first of them can be written.
int64_t rows_at_once(TargetFormat format) {
  return format == TargetFormat::fp8_block ? kFp8BlockSize : 1;
}

/// The largest magnitude of all weights, or the first weight that is not finite.
struct RowScan {
  float amax = 0;
  int64_t not_finite = -1;
};

/// Reads the whole matrix once: errors come before anything is encoded.
Result<float> largest_magnitude(std::string_view module, const WeightMatrix& source,
                                ThreadPool& pool) {
  std::vector<RowScan> scans(static_cast<size_t>(source.rows));
  pool.parallel_for(source.rows, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<float> row(static_cast<size_t>(source.cols));
    for (int64_t n = begin; n < end; ++n) {
      dequantize_row(source, n, row);
      RowScan& scan = scans[static_cast<size_t>(n)];
      scan.not_finite = find_not_finite(row);
      for (const float weight : row)
        scan.amax = std::max(scan.amax, std::abs(weight));
    }
  });
  float amax = 0;
  for (size_t n = 0; n < scans.size(); ++n) {
    if (scans[n].not_finite >= 0) {
      return fail(ErrorCode::corrupt_data,
                  "module \"{}\": the weight in row {}, column {} is NaN or infinite", module, n,
                  scans[n].not_finite);
    }
    amax = std::max(amax, scans[n].amax);
  }
  return amax;
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

double QuantizationLoss::relative_rms_error() const {
  return energy > 0 ? std::sqrt(squared_error / energy) : 0.0;
}

int64_t TensorLayout::bytes() const {
  auto count = static_cast<int64_t>(dtype_size(dtype));
  for (const int64_t dim : shape)
    count *= dim;
  return count;
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

Result<EncodedMatrix> encode_matrix(std::string_view module, const WeightMatrix& source,
                                    const EncodeOptions& options, std::span<const float> importance,
                                    ThreadPool& pool) {
  if (source.cols % group_of(options.format) != 0) {
    return fail(ErrorCode::unsupported,
                "module \"{}\" has {} input channels, which {} cannot cut into groups of {}",
                module, source.cols, target_format_name(options.format), group_of(options.format));
  }
  if (!importance.empty() && std::cmp_not_equal(importance.size(), source.cols)) {
    return fail(ErrorCode::internal, "module \"{}\" has {} input channels, its importance {}",
                module, source.cols, importance.size());
  }
  TETRAD_ASSIGN(const float amax, largest_magnitude(module, source, pool));
  EncodedMatrix result;
  for (const TensorLayout& tensor : encoded_layout(options.format, source.rows, source.cols))
    result.tensors.emplace_back(static_cast<size_t>(tensor.bytes()));
  const RowEncoder encoder(options, importance, source.cols, amax, result.tensors);

  // Losses are kept by block and added in their order, so that the sums do not depend on the
  // threads.
  const int64_t at_once = rows_at_once(options.format);
  const int64_t num_blocks = (source.rows + at_once - 1) / at_once;
  std::vector<QuantizationLoss> losses(static_cast<size_t>(num_blocks));
  pool.parallel_for(num_blocks, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<float> rows(static_cast<size_t>(at_once * source.cols));
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * at_once;
      const int64_t count = std::min(at_once, source.rows - first);
      for (int64_t n = 0; n < count; ++n) {
        dequantize_row(source, first + n,
                       std::span(rows).subspan(static_cast<size_t>(n * source.cols),
                                               static_cast<size_t>(source.cols)));
      }
      encoder.encode(first, std::span(rows).first(static_cast<size_t>(count * source.cols)),
                     losses[static_cast<size_t>(block)]);
    }
  });
  for (const QuantizationLoss& loss : losses)
    result.loss.add(loss);
  return result;
}

}  // namespace tetrad
