#include "quant/error_correction.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/dtype.h"
#include "quant/correction_kernels.h"
#include "quant/scale_search.h"

namespace tetrad {
namespace {

constexpr int64_t kRowsAtOnce = kCorrectionLanes;
constexpr int64_t kGroup = kMxfp4GroupSize;
constexpr size_t kTile = static_cast<size_t>(kGroup * kRowsAtOnce);
/// Tried beside the scale that is best without looking at the rounding to come.
constexpr std::array<float, 5> kScaleFactors = {1.0f, 0.95f, 1.05f, 0.9f, 1.1f};

/// Some rows of one matrix on one thread. Inside, row r stands in lane r: [column][lane].
class RowCorrector {
 public:
  RowCorrector(const WeightMatrix& source, const InputFactor& factor, ScaleSearch search)
      : source_(source),
        factor_(factor),
        search_(search),
        row_(static_cast<size_t>(source.cols)),
        weights_(static_cast<size_t>(source.cols * kRowsAtOnce)),
        errors_(static_cast<size_t>(source.cols * kRowsAtOnce)) {}

  /// Rows first … first + count - 1, count <= kRowsAtOnce. The first weight that is not finite, by
  /// row and column, or nothing.
  struct Place {
    int64_t row = 0;
    int64_t col = 0;
  };
  std::optional<Place> load(int64_t first, int64_t count) {
    std::fill(weights_.begin(), weights_.end(), 0.0f);
    for (int64_t r = 0; r < count; ++r) {
      dequantize_row(source_, first + r, row_);
      for (int64_t k = 0; k < source_.cols; ++k) {
        const float weight = row_[static_cast<size_t>(k)];
        if (!std::isfinite(weight)) return Place{first + r, k};
        weights_[static_cast<size_t>(k * kRowsAtOnce + r)] = weight;
      }
    }
    return std::nullopt;
  }

  /// Encodes what was loaded; packed and scales point to the first row.
  void encode(int64_t count, std::byte* packed, std::byte* scales, QuantizationLoss& loss) {
    for (int64_t group = source_.cols / kGroup - 1; group >= 0; --group) {
      make_targets(group);
      search_scales(group);
      const RoundedGroup& best = round_with_best_scales(group);
      std::memcpy(errors_.data() + group * kGroup * kRowsAtOnce, best.errors, sizeof best.errors);
      store(best, group, count, packed, scales);
      count_loss(best, group, count, loss);
    }
  }

 private:
  const float* weights_of(int64_t group) const {
    return weights_.data() + group * kGroup * kRowsAtOnce;
  }

  /// targets = weights + what the errors behind this group ask for.
  void make_targets(int64_t group) {
    std::memcpy(targets_.data(), weights_of(group), sizeof targets_);
    const int64_t behind = (group + 1) * kGroup;
    if (factor_.reach() == CorrectionReach::group || behind == source_.cols) return;
    const CorrectionKernels& kernels = correction_kernels();
    for (int64_t i = 0; i < kGroup; i += kTileHeight) {
      kernels.accumulate(factor_.factors(group, behind) + i, kGroup,
                         errors_.data() + behind * kRowsAtOnce, source_.cols - behind,
                         targets_.data() + i * kRowsAtOnce);
    }
  }

  void search_scales(int64_t group) {
    std::array<float, kTile> rows;  // [lane][column]
    for (size_t i = 0; i < kGroup; ++i) {
      for (size_t lane = 0; lane < kRowsAtOnce; ++lane)
        rows[lane * kGroup + i] = targets_[i * kRowsAtOnce + lane];
    }
    std::array<std::byte, kTile / 2> codes;  // made anew with the errors between the columns
    std::array<uint16_t, kRowsAtOnce> scales;
    quantize_groups(rows, {factor_.pivots(group), kGroup}, search_, codes,
                    std::as_writable_bytes(std::span(scales)));
    for (size_t lane = 0; lane < kRowsAtOnce; ++lane)
      scales_[lane] = f16_to_float(scales[lane]);
  }

  const RoundedGroup& round_with_best_scales(int64_t group) {
    GroupToRound to_round{.weights = weights_of(group),
                          .targets = targets_.data(),
                          .factors = factor_.factors(group, group * kGroup),
                          .pivots = factor_.pivots(group)};
    const std::array<float, kRowsAtOnce> searched = scales_;
    for (const float factor : kScaleFactors) {
      std::array<float, kRowsAtOnce> scales;
      for (size_t lane = 0; lane < kRowsAtOnce; ++lane) {
        const float scale = f16_to_float(float_to_f16(searched[lane] * factor));
        scales[lane] = std::isfinite(scale) ? scale : searched[lane];
      }
      to_round.scales = scales.data();
      RoundedGroup& out = factor == kScaleFactors.front() ? best_ : tried_;
      correction_kernels().round_group(to_round, out);
      if (&out == &best_) {
        scales_ = scales;
        continue;
      }
      for (size_t lane = 0; lane < kRowsAtOnce; ++lane) {
        if (tried_.cost[lane] < best_.cost[lane]) take_lane(lane, scales[lane]);
      }
    }
    return best_;
  }

  void take_lane(size_t lane, float scale) {
    best_.cost[lane] = tried_.cost[lane];
    scales_[lane] = scale;
    for (size_t at = lane; at < kTile; at += kRowsAtOnce) {
      best_.errors[at] = tried_.errors[at];
      best_.codes[at] = tried_.codes[at];
    }
  }

  void store(const RoundedGroup& best, int64_t group, int64_t count, std::byte* packed,
             std::byte* scales) const {
    const int64_t packed_row = source_.cols / 2;
    const int64_t scales_row = source_.cols / kGroup * int64_t{sizeof(uint16_t)};
    for (int64_t r = 0; r < count; ++r) {
      std::byte* out = packed + r * packed_row + group * kGroup / 2;
      for (int64_t i = 0; i < kGroup; i += 2) {
        *out++ =
            std::byte(best.codes[i * kRowsAtOnce + r] | best.codes[(i + 1) * kRowsAtOnce + r] << 4);
      }
      const uint16_t bits = float_to_f16(scales_[static_cast<size_t>(r)]);
      std::memcpy(scales + r * scales_row + group * int64_t{sizeof bits}, &bits, sizeof bits);
    }
  }

  void count_loss(const RoundedGroup& best, int64_t group, int64_t count,
                  QuantizationLoss& loss) const {
    constexpr float kSmallestNormal = 0x1p-14f;
    constexpr float kLargestScale = 65504;
    const float* weights = weights_of(group);
    for (int64_t r = 0; r < count; ++r) {
      const float scale = scales_[static_cast<size_t>(r)];
      ++loss.groups;
      loss.negative_scales += scale < 0 ? 1 : 0;
      loss.zero_scales += scale == 0 ? 1 : 0;
      loss.subnormal_scales += scale != 0 && std::abs(scale) < kSmallestNormal ? 1 : 0;
      loss.clipped_scales += std::abs(scale) == kLargestScale ? 1 : 0;
      for (int64_t i = 0; i < kGroup; ++i) {
        const double weight = weights[i * kRowsAtOnce + r];
        const double error = best.errors[i * kRowsAtOnce + r];
        loss.energy += weight * weight;
        loss.squared_error += error * error;
      }
    }
  }

  const WeightMatrix& source_;
  const InputFactor& factor_;
  ScaleSearch search_;
  std::vector<float> row_;
  std::vector<float> weights_;  // [cols][lanes]
  std::vector<float> errors_;   // [cols][lanes]
  alignas(64) std::array<float, kTile> targets_{};
  std::array<float, kRowsAtOnce> scales_{};
  RoundedGroup best_;
  RoundedGroup tried_;
};

}  // namespace

Result<EncodedMatrix> encode_corrected(std::string_view module, const WeightMatrix& source,
                                       const InputFactor& factor, ScaleSearch search,
                                       ThreadPool& pool) {
  if (factor.cols() != source.cols) {
    return fail(ErrorCode::internal, "module \"{}\" has {} input channels, its factor {}", module,
                source.cols, factor.cols());
  }
  EncodedMatrix result;
  for (const TensorLayout& tensor :
       encoded_layout(TargetFormat::mxfp4_16, source.rows, source.cols))
    result.tensors.emplace_back(static_cast<size_t>(tensor.bytes()));
  const int64_t packed_row = source.cols / 2;
  const int64_t scales_row = source.cols / kGroup * int64_t{sizeof(uint16_t)};

  // Kept apart and looked at in order afterwards, so that neither the sums nor the error that is
  // reported depend on the threads.
  const int64_t num_blocks = (source.rows + kRowsAtOnce - 1) / kRowsAtOnce;
  std::vector<QuantizationLoss> losses(static_cast<size_t>(num_blocks));
  std::vector<std::optional<RowCorrector::Place>> not_finite(static_cast<size_t>(num_blocks));
  pool.parallel_for(num_blocks, 1, [&](int64_t begin, int64_t end, int) {
    RowCorrector corrector(source, factor, search);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kRowsAtOnce;
      const int64_t count = std::min(kRowsAtOnce, source.rows - first);
      auto& place = not_finite[static_cast<size_t>(block)];
      place = corrector.load(first, count);
      if (place) continue;
      corrector.encode(count, result.tensors[0].data() + first * packed_row,
                       result.tensors[1].data() + first * scales_row,
                       losses[static_cast<size_t>(block)]);
    }
  });
  for (size_t block = 0; block < losses.size(); ++block) {
    if (const auto& place = not_finite[block]) {
      return fail(ErrorCode::corrupt_data,
                  "module \"{}\": the weight in row {}, column {} is NaN or infinite", module,
                  place->row, place->col);
    }
    result.loss.add(losses[block]);
  }
  return result;
}

}  // namespace tetrad
