#pragma once

#include <cstdint>

namespace tetrad {

/// Columns that share one scale in an Int8Block, and columns of a block.
inline constexpr int64_t kInt8GroupSize = 16;
inline constexpr int64_t kInt8BlockSize = 256;
inline constexpr int64_t kInt8Groups = kInt8BlockSize / kInt8GroupSize;

/// Below this a group of activations counts as zero: its reciprocal would not be a float.
inline constexpr float kInt8Smallest = 0x1p-100f;

/// 256 columns of one row of activations as 8-bit integers, a scale for each group of 16:
///   scale = (largest magnitude of the group) / 127, value = round to even(x * (127 / largest)).
/// A group with an infinity or a NaN has the scale NaN. Columns beyond the row's end are zero.
///
/// The order is that in which mxfp4_16 codes come out of their bytes (mxfp4_16 spec, section 1):
/// byte b of a group's 8 holds columns 2b (low nibble) and 2b + 1, so a 32-bit word of codes
/// gives four even columns, and four odd ones, of half a group. Column k of group g is
/// values[k / 8 * 2 + k % 2][4 g + k % 8 / 2].
struct alignas(64) Int8Block {
  signed char values[4][kInt8Groups * 4];
  int32_t offset[kInt8Groups];  // -128 * the sum of the group's values
  float scale[kInt8Groups];
};

constexpr int64_t int8_blocks_for(int64_t cols) {
  return (cols + kInt8BlockSize - 1) / kInt8BlockSize;
}

}  // namespace tetrad
