#pragma once

// Groups of weights of many kinds, and a quantized row to look into.

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "checkpoint/weight.h"
#include "quant/quant_kernels.h"
#include "quant/scale_search.h"

namespace tetrad::search_test {

inline constexpr size_t kGroup = 16;
using Group = std::array<float, kGroup>;
using Draw = float (*)(std::mt19937&);

/// The compiler's own binary16 says what a stored scale is.
inline double f16_value(uint16_t bits) {
  _Float16 value;
  std::memcpy(&value, &bits, sizeof value);
  return static_cast<float>(value);
}

struct Quantized {
  std::vector<std::byte> codes;
  std::vector<std::byte> scales;

  bool operator==(const Quantized&) const = default;
  uint16_t scale_bits(size_t group) const {
    uint16_t bits = 0;
    std::memcpy(&bits, scales.data() + 2 * group, sizeof bits);
    return bits;
  }
  double scale(size_t group) const { return f16_value(scale_bits(group)); }
  unsigned code(size_t group, size_t i) const {
    const auto byte = std::to_integer<unsigned>(codes[8 * group + i / 2]);
    return i % 2 == 0 ? byte & 15u : byte >> 4;
  }
};

inline Quantized quantized(std::span<const float> weights, std::span<const float> importance = {},
                           ScaleSearch search = ScaleSearch::exact,
                           ScaleSigns signs = ScaleSigns::both,
                           const QuantKernels& kernels = quant_kernels()) {
  Quantized result{std::vector<std::byte>(weights.size() / 2),
                   std::vector<std::byte>(weights.size() / 8)};
  quantize_groups_with(kernels, weights, importance, search, result.codes, result.scales, signs);
  return result;
}

inline double squared_error(std::span<const float> weights, const Quantized& found, size_t group,
                            std::span<const float> importance = {}) {
  const double scale = found.scale(group);
  double error = 0;
  for (size_t i = 0; i < kGroup; ++i) {
    const double difference =
        weights[group * kGroup + i] - scale * kIq4NlCodebook[found.code(group, i)];
    error += (importance.empty() ? 1.0 : importance[i]) * difference * difference;
  }
  return error;
}

inline float gaussian(std::mt19937& random) {
  return std::normal_distribution<float>()(random);
}
inline float laplace(std::mt19937& random) {
  const float magnitude = std::exponential_distribution<float>()(random);
  return std::bernoulli_distribution()(random) ? magnitude : -magnitude;
}
/// Many equal weights, zeros and exact ties.
inline float coarse(std::mt19937& random) {
  return std::round(gaussian(random) * 4) / 4;
}
inline float heavy_tailed(std::mt19937& random) {
  const float normal = gaussian(random);
  return normal * normal * normal;
}
inline float one_sided(std::mt19937& random) {
  return std::abs(gaussian(random));
}
inline float uniform(std::mt19937& random) {
  return std::uniform_real_distribution<float>(-1, 1)(random);
}
inline constexpr std::array<Draw, 6> kDraws = {gaussian,     laplace,   coarse,
                                               heavy_tailed, one_sided, uniform};

/// Groups of every distribution in turn; where `any_magnitude`, from scales that vanish over
/// subnormal ones and ordinary weights to scales that saturate.
inline std::vector<float> mixed_groups(size_t count, bool any_magnitude, unsigned seed) {
  constexpr std::array<float, 9> kMagnitudes = {1e-8f, 1e-6f, 3e-5f, 1e-3f, 0.02f,
                                                1.0f,  1e4f,  6e6f,  1e9f};
  std::mt19937 random(seed);
  std::vector<float> weights(count * kGroup);
  for (size_t g = 0; g < count; ++g) {
    const Draw draw = kDraws[g % kDraws.size()];
    const float magnitude = any_magnitude ? kMagnitudes[g / kDraws.size() % 9] : 0.02f;
    for (size_t i = 0; i < kGroup; ++i)
      weights[g * kGroup + i] = magnitude * draw(random);
  }
  return weights;
}

inline std::vector<float> random_importance(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> importance(count);
  for (float& value : importance)
    value = random() % 20 == 0 ? 0.0f : std::exp(2 * gaussian(random));
  return importance;
}

}  // namespace tetrad::search_test
