#pragma once

// Scales and codes of MXFP4-16 groups (mxfp4_16 spec, section 4).

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tetrad {

struct QuantKernels;

/// How the scale of a group of 16 weights is found.
enum class ScaleSearch : uint8_t {
  amax,   // the largest magnitude over 127, no search: what the format loses without one
  fast,   // the best of some scales, refined by least squares
  exact,  // the optimum over all FP16 scales
};

/// "amax", "fast", "exact".
std::string_view scale_search_name(ScaleSearch search);

/// The format allows both; what one sign alone would lose is measured by `tetrad bench quantize`.
enum class ScaleSigns : uint8_t { both, positive };

/// Quantizes consecutive groups of 16 weights, which must be finite. The least sum of
///   importance[k] · (weights[k] - scale · codebook[code[k]])²
/// is looked for in each group over finite FP16 scales; the codes are those nearest at the scale,
/// ties to the lower index, 8 where a zero scale makes them meaningless.
///
/// Scales beyond ±65504 do not exist in FP16, so weights of more than about 8e6 are clipped;
/// weights below about 2e-6 may be best served by scale 0.
///
/// weights: [n, cols], `importance`: empty (all ones) or [cols], finite numbers >= 0, the same for
/// each of the n rows; where it is zero for every weight of a group that is not zero, it counts as
/// ones. codes: 8 bytes a group, the even weight in the low nibble; scales: FP16, 2 bytes a group.
/// The same bits on every machine.
void quantize_groups(std::span<const float> weights, std::span<const float> importance,
                     ScaleSearch search, std::span<std::byte> codes, std::span<std::byte> scales,
                     ScaleSigns signs = ScaleSigns::both);

/// The same with the inner loops of a certain instruction set, which the machine must have.
void quantize_groups_with(const QuantKernels& kernels, std::span<const float> weights,
                          std::span<const float> importance, ScaleSearch search,
                          std::span<std::byte> codes, std::span<std::byte> scales,
                          ScaleSigns signs = ScaleSigns::both);

}  // namespace tetrad
