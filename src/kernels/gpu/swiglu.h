#pragma once

// SwiGLU between the two products of an expert.

#include "gpu/fragment.h"

namespace tetrad::gpu {

/// SwiGLU's products may be beyond what a half holds: they are kept times this, a power of two, and
/// w2's results are divided by it, both exactly.
inline constexpr float kHiddenScale = 0x1p-6f;

namespace TETRAD_MACHINE {

/// silu(gate) * up * kHiddenScale, saturated.
TETRAD_DEVICE uint16_t swiglu_to_half(float gate, float up) {
  // What is below a float's normal numbers adds nothing to 1.
  const float silu = divide_nearly(gate, 1.0f + power_of_two_for_half(gate * -1.44269504f));
  return float_to_half(silu * up * kHiddenScale);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
