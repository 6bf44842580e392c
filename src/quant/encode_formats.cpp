#include "quant/encode_formats.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/dtype.h"

namespace tetrad {
namespace {

constexpr float kLargestE2m1 = 6;
constexpr float kLargestE4m3 = 448;

struct E2m1 {
  uint8_t code = 0;  // bit 3 is the sign (mxfp4_16 spec, section 7.2)
  float value = 0;
};

/// Nearest, ties to even; beyond ±6 saturates. Both ways of rounding are taken and no branch.
E2m1 nearest_e2m1(float value) {
  const float magnitude = std::min(std::abs(value), kLargestE2m1);
  // Below 1 codes count halves, the last bit of floats from 2^22 on.
  const float halves = (magnitude + 0x1p22f) - 0x1p22f;
  // From 1 on, one bit of the fraction stays.
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t kept = (bits + 0x1FFFFFu + ((bits >> 22) & 1u)) >> 22;
  constexpr uint32_t kBelowOne = 126u << 1;  // what stands for 1/2 in a float
  const bool is_small = magnitude < 1;
  const uint32_t code = is_small ? static_cast<uint32_t>(2 * halves) : kept - kBelowOne;
  const float rounded = is_small ? halves : std::bit_cast<float>(kept << 22);
  const bool negative = std::signbit(value);
  return {static_cast<uint8_t>(code | (negative ? 8u : 0u)), negative ? -rounded : rounded};
}

float largest_of(std::span<const float> weights) {
  float amax = 0;
  for (const float weight : weights)
    amax = std::max(amax, std::abs(weight));
  return amax;
}

void count_error(float weight, float stored, QuantizationLoss& loss) {
  loss.count_error(weight, double{weight} - stored);
}

/// Writes a group of E2M1 codes whose values stand for themselves times `scale`.
void encode_e2m1(std::span<const float> weights, float scale, std::byte* out,
                 QuantizationLoss& loss) {
  const float divisor = scale == 0 ? std::numeric_limits<float>::infinity() : scale;
  for (size_t i = 0; i < weights.size(); i += 2) {
    const E2m1 even = nearest_e2m1(weights[i] / divisor);
    const E2m1 odd = nearest_e2m1(weights[i + 1] / divisor);
    count_error(weights[i], even.value * scale, loss);
    count_error(weights[i + 1], odd.value * scale, loss);
    *out++ = std::byte(even.code | odd.code << 4);
  }
}

}  // namespace

RowEncoder::RowEncoder(const EncodeOptions& options, std::span<const float> importance,
                       int64_t cols, float amax, std::vector<std::vector<std::byte>>& tensors)
    : options_(options), importance_(importance), cols_(cols), tensors_(tensors) {
  if (options.format != TargetFormat::nvfp4) return;
  // Blocks with the largest weight get the largest scale that E4M3 has.
  if (amax > 0) global_scale_ = kLargestE4m3 * kLargestE2m1 / amax;
  if (!std::isfinite(global_scale_)) global_scale_ = 1;
  std::memcpy(tensors[2].data(), &global_scale_, sizeof global_scale_);
}

void RowEncoder::encode(int64_t first_row, std::span<const float> weights,
                        QuantizationLoss& loss) const {
  switch (options_.format) {
    case TargetFormat::mxfp4_16:
      return encode_mxfp4_16(first_row, weights, loss);
    case TargetFormat::mxfp4:
      return encode_mxfp4(first_row, weights, loss);
    case TargetFormat::nvfp4:
      return encode_nvfp4(first_row, weights, loss);
    case TargetFormat::fp8_block:
      return encode_fp8_block(first_row, weights, loss);
    case TargetFormat::bf16:
      return encode_bf16(first_row, weights, loss);
  }
}

void RowEncoder::encode_mxfp4_16(int64_t row, std::span<const float> weights,
                                 QuantizationLoss& loss) const {
  const size_t groups = weights.size() / kMxfp4GroupSize;
  const std::span codes(at(0, row * cols_ / 2), weights.size() / 2);
  const std::span scales(at(1, row * cols_ / kMxfp4GroupSize * 2), groups * 2);
  quantize_groups(weights, importance_, options_.search, codes, scales, options_.signs);
  for (size_t group = 0; group < groups; ++group) {
    uint16_t bits = 0;
    std::memcpy(&bits, scales.data() + group * sizeof bits, sizeof bits);
    const float scale = f16_to_float(bits);
    loss.count_f16_scale(scale);
    for (size_t i = 0; i < size_t{kMxfp4GroupSize}; ++i) {
      const auto byte = std::to_integer<unsigned>(codes[group * 8 + i / 2]);
      const unsigned code = i % 2 == 0 ? byte & 15u : byte >> 4;
      count_error(weights[group * size_t{kMxfp4GroupSize} + i], scale * kIq4NlCodebook[code], loss);
    }
  }
}

/// The shared exponent brings the largest magnitude of 32 to where E2M1's largest exponent is, as
/// the OCP specification has it; what then lies beyond 6 saturates.
void RowEncoder::encode_mxfp4(int64_t row, std::span<const float> weights,
                              QuantizationLoss& loss) const {
  constexpr size_t kBlock = 32;
  constexpr int kBias = 127;
  constexpr int kLargestE2m1Exponent = 2;
  for (size_t begin = 0; begin < weights.size(); begin += kBlock) {
    const auto block = weights.subspan(begin, kBlock);
    const float amax = largest_of(block);
    const int exponent =
        amax > 0 ? std::clamp(std::ilogb(amax) - kLargestE2m1Exponent, -kBias, kBias) : -kBias;
    const int64_t index = row * cols_ / int64_t{kBlock} + static_cast<int64_t>(begin / kBlock);
    *at(1, index) = std::byte(exponent + kBias);
    ++loss.groups;
    loss.zero_scales += amax == 0 ? 1 : 0;
    encode_e2m1(block, std::ldexp(1.0f, exponent), at(0, index * int64_t{kBlock / 2}), loss);
  }
}

void RowEncoder::encode_nvfp4(int64_t row, std::span<const float> weights,
                              QuantizationLoss& loss) const {
  constexpr size_t kBlock = 16;
  for (size_t begin = 0; begin < weights.size(); begin += kBlock) {
    const auto block = weights.subspan(begin, kBlock);
    const uint8_t scale = float_to_f8_e4m3(largest_of(block) / kLargestE2m1 * global_scale_);
    const int64_t index = row * cols_ / int64_t{kBlock} + static_cast<int64_t>(begin / kBlock);
    *at(1, index) = std::byte(scale);
    const float stored = f8_e4m3_to_float(scale);
    ++loss.groups;
    loss.zero_scales += stored == 0 ? 1 : 0;
    encode_e2m1(block, stored / global_scale_, at(0, index * int64_t{kBlock / 2}), loss);
  }
}

void RowEncoder::encode_fp8_block(int64_t row, std::span<const float> weights,
                                  QuantizationLoss& loss) const {
  const int64_t rows = static_cast<int64_t>(weights.size()) / cols_;
  const std::array<float, 256>& values = f8_e4m3_values();
  const int64_t block_cols = (cols_ + kFp8BlockSize - 1) / kFp8BlockSize;
  for (int64_t block = 0; block < block_cols; ++block) {
    const int64_t begin = block * kFp8BlockSize;
    const int64_t end = std::min(begin + kFp8BlockSize, cols_);
    float amax = 0;
    for (int64_t n = 0; n < rows; ++n) {
      amax = std::max(amax, largest_of(weights.subspan(static_cast<size_t>(n * cols_ + begin),
                                                       static_cast<size_t>(end - begin))));
    }
    // Of weights below 2^-140 the scale would underflow; they become zeros.
    const float scale = amax / kLargestE4m3 > 0 ? amax / kLargestE4m3 : 1.0f;
    std::memcpy(at(1, (row / kFp8BlockSize * block_cols + block) * int64_t{sizeof scale}), &scale,
                sizeof scale);
    ++loss.groups;
    loss.zero_scales += amax == 0 ? 1 : 0;
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t k = begin; k < end; ++k) {
        const float weight = weights[static_cast<size_t>(n * cols_ + k)];
        const uint8_t code = float_to_f8_e4m3(weight / scale);
        *at(0, (row + n) * cols_ + k) = std::byte(code);
        count_error(weight, values[code] * scale, loss);
      }
    }
  }
}

void RowEncoder::encode_bf16(int64_t row, std::span<const float> weights,
                             QuantizationLoss& loss) const {
  std::byte* out = at(0, row * cols_ * 2);
  for (const float weight : weights) {
    const uint16_t bits = float_to_bf16(weight);
    std::memcpy(out, &bits, sizeof bits);
    out += sizeof bits;
    count_error(weight, bf16_to_float(bits), loss);
  }
}

}  // namespace tetrad
