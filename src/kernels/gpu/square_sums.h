#pragma once

// Sums of the squares of stretches of a product, which come with it or are added up by who reads
// it: what the norm of q and k over all heads is made of (qk_norm_rope.h).

#include "gpu/fragment.h"

namespace tetrad::gpu {

/// Numbers of a stretch: a row of a tile of the product.
inline constexpr uint32_t kSquareColumns = 16;

namespace TETRAD_MACHINE {

/// The sum of the squares of 16 lanes' numbers, in each of them. The lanes' first is a multiple of
/// 16.
TETRAD_DEVICE float square_sum_of_16(float value) {
  float sum = value * value;
  TETRAD_UNROLL
  for (uint32_t step = 1; step < kSquareColumns; step *= 2)
    sum += shuffle_xor(sum, step);
  return sum;
}
/// As square_sum_of_16(), where a lane has four numbers one after the other.
TETRAD_DEVICE float square_sum_of_4_lanes(const Words4& four) {
  float squares[4];
  TETRAD_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    const float value = __builtin_bit_cast(float, four.word[i]);
    squares[i] = value * value;
  }
  float sum = (squares[0] + squares[1]) + (squares[2] + squares[3]);
  sum += shuffle_xor(sum, 1);
  return sum + shuffle_xor(sum, 2);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
