#pragma once

// The signed scale search of MXFP4-16 (mxfp4_16 spec, section 4) for one group of 16 weights.

#include <array>
#include <cstdint>
#include <span>

#include "checkpoint/weight.h"

namespace tetrad {

inline constexpr size_t kGroupWeights = static_cast<size_t>(kMxfp4GroupSize);
inline constexpr double kLargestF16 = 65504.0;

/// One group as stored: weight i is kIq4NlCodebook[codes[i]] * f16(scale_bits).
struct QuantizedGroup {
  uint16_t scale_bits = 0;                   // FP16; negative, subnormal or zero are all ordinary
  std::array<uint8_t, kGroupWeights> codes;  // 0 … 15
};

/// The FP16 scale, of either sign, and the codes with the least squared error
///   Σ importance[i] · (weights[i] - scale · codebook[codes[i]])²
/// over all finite FP16 scales; not a local optimum and not the rounding of a real one. The weights
/// must be finite. `importance` is empty (all ones) or holds 16 finite numbers >= 0, the mean
/// squared activations of the 16 input channels; if they are zero for every weight that is not
/// zero, they say nothing and count as ones.
///
/// Scales beyond ±kLargestF16 do not exist in FP16, so weights of more than about 8e6 are clipped;
/// weights below about 2e-6 may be best served by scale 0. Codes that a zero scale makes
/// meaningless are 8.
QuantizedGroup search_group(std::span<const float, kGroupWeights> weights,
                            std::span<const float> importance = {});

}  // namespace tetrad
