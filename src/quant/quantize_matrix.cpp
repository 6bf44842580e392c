#include "quant/quantize_matrix.h"

#include <cmath>
#include <cstring>
#include <span>

#include "base/dtype.h"
#include "quant/group_search.h"

namespace tetrad {
namespace {

constexpr int64_t kGroupBytes = kMxfp4GroupSize / 2;
constexpr float kSmallestNormalF16 = 0x1p-14f;

/// Where one row goes, and what became of it.
struct RowTarget {
  std::byte* packed;
  std::byte* scales;
  QuantizationLoss* loss;
};

void pack(const QuantizedGroup& group, std::byte* out) {
  for (size_t i = 0; i < kGroupWeights; i += 2)
    *out++ = std::byte(group.codes[i] | group.codes[i + 1] << 4);
}

void count(std::span<const float, kGroupWeights> weights, const QuantizedGroup& group,
           QuantizationLoss& loss) {
  const float scale = f16_to_float(group.scale_bits);
  ++loss.groups;
  loss.negative_scales += scale < 0 ? 1 : 0;
  loss.zero_scales += scale == 0 ? 1 : 0;
  loss.subnormal_scales += scale != 0 && std::abs(scale) < kSmallestNormalF16 ? 1 : 0;
  loss.clipped_scales += std::abs(scale) == kLargestF16 ? 1 : 0;
  for (size_t i = 0; i < kGroupWeights; ++i) {
    const double weight = weights[i];
    const double difference = weight - double{scale} * kIq4NlCodebook[group.codes[i]];
    loss.energy += weight * weight;
    loss.squared_error += difference * difference;
  }
}

void quantize_row(std::span<const float> row, const RowTarget& target) {
  std::byte* packed = target.packed;
  std::byte* scales = target.scales;
  for (size_t begin = 0; begin < row.size(); begin += kGroupWeights) {
    const auto weights = row.subspan(begin).first<kGroupWeights>();
    const QuantizedGroup group = search_group(weights);
    pack(group, packed);
    std::memcpy(scales, &group.scale_bits, sizeof group.scale_bits);
    count(weights, group, *target.loss);
    packed += kGroupBytes;
    scales += sizeof group.scale_bits;
  }
}

/// The column of the first weight that is NaN or infinite, -1 when there is none.
int64_t find_not_finite(std::span<const float> row) {
  for (size_t col = 0; col < row.size(); ++col) {
    if (!std::isfinite(row[col])) return static_cast<int64_t>(col);
  }
  return -1;
}

}  // namespace

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

Result<QuantizedMatrix> quantize_matrix(std::string_view module, const WeightMatrix& source,
                                        ThreadPool& pool) {
  const int64_t packed_row = source.cols / 2;
  const int64_t scales_row = source.cols / kMxfp4GroupSize * int64_t{sizeof(uint16_t)};
  QuantizedMatrix result;
  result.packed.resize(static_cast<size_t>(source.rows * packed_row));
  result.scales.resize(static_cast<size_t>(source.rows * scales_row));

  // Kept by row and looked at in order of rows afterwards, so that neither the sums nor the error
  // that is reported depend on the threads.
  std::vector<QuantizationLoss> losses(static_cast<size_t>(source.rows));
  std::vector<int64_t> not_finite(static_cast<size_t>(source.rows), -1);
  pool.parallel_for(source.rows, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<float> row(static_cast<size_t>(source.cols));
    for (int64_t n = begin; n < end; ++n) {
      dequantize_row(source, n, row);
      not_finite[static_cast<size_t>(n)] = find_not_finite(row);
      if (not_finite[static_cast<size_t>(n)] >= 0) continue;
      quantize_row(row, {result.packed.data() + n * packed_row,
                         result.scales.data() + n * scales_row, &losses[static_cast<size_t>(n)]});
    }
  });
  for (size_t n = 0; n < losses.size(); ++n) {
    if (not_finite[n] >= 0) {
      return fail(ErrorCode::corrupt_data,
                  "module \"{}\": the weight in row {}, column {} is NaN or infinite", module, n,
                  not_finite[n]);
    }
    result.loss.add(losses[n]);
  }
  return result;
}

}  // namespace tetrad
