#include "quant/error_correction.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "base/dtype.h"
#include "quant/quant_kernels.h"
#include "quant/row_blocks.h"
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
        weights_(static_cast<size_t>(source.cols * kRowsAtOnce)),
        errors_(static_cast<size_t>(source.cols * kRowsAtOnce)) {}

  /// Encodes `rows`, [count, cols], count <= kRowsAtOnce; packed and scales point to the first.
  void encode(std::span<const float> rows, std::byte* packed, std::byte* scales,
              QuantizationLoss& loss) {
    const auto count = static_cast<int64_t>(rows.size()) / source_.cols;
    load(rows, count);
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
  void load(std::span<const float> rows, int64_t count) {
    std::fill(weights_.begin(), weights_.end(), 0.0f);
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t k = 0; k < source_.cols; ++k) {
        weights_[static_cast<size_t>(k * kRowsAtOnce + r)] =
            rows[static_cast<size_t>(r * source_.cols + k)];
      }
    }
  }

  const float* weights_of(int64_t group) const {
    return weights_.data() + group * kGroup * kRowsAtOnce;
  }

  /// targets = weights + what the errors behind this group ask for.
  void make_targets(int64_t group) {
    std::memcpy(targets_.data(), weights_of(group), sizeof targets_);
    const int64_t behind = (group + 1) * kGroup;
    if (factor_.reach() == CorrectionReach::group || behind == source_.cols) return;
    const QuantKernels& kernels = quant_kernels();
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
      quant_kernels().round_group(to_round, out);
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
    const float* weights = weights_of(group);
    for (int64_t r = 0; r < count; ++r) {
      loss.count_f16_scale(scales_[static_cast<size_t>(r)]);
      for (int64_t at = r; at < kGroup * kRowsAtOnce; at += kRowsAtOnce)
        loss.count_error(weights[at], best.errors[at]);
    }
  }

  const WeightMatrix& source_;
  const InputFactor& factor_;
  ScaleSearch search_;
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
  EncodedMatrix result = empty_encoding(TargetFormat::mxfp4_16, source.rows, source.cols);
  std::byte* const packed = result.tensors[0].data();
  std::byte* const scales = result.tensors[1].data();
  const auto make_encoder = [&]() -> BlockEncoder {
    auto corrector = std::make_shared<RowCorrector>(source, factor, search);
    return [=, cols = source.cols](int64_t first_row, std::span<const float> weights,
                                   QuantizationLoss& loss) {
      corrector->encode(weights, packed + first_row * cols / 2,
                        scales + first_row * (cols / kGroup) * int64_t{sizeof(uint16_t)}, loss);
    };
  };
  TETRAD_ASSIGN(result.loss, encode_row_blocks(module, source, kRowsAtOnce, pool, make_encoder));
  return result;
}

}  // namespace tetrad
