#pragma once

// The language kernels are written in: what a thread of a GPU can do, under one name for each of
// the three machines that run it.
//
//   clang --cuda-device-only    NVIDIA GPUs, sm_90 and up   dialect_nvptx.h
//   clang -x hip                AMD GPUs, gfx12             dialect_amdgcn.h
//   the C++ compiler of tetrad  the CPU, emulated           dialect_emulated.h
//
// Kernels take one struct by value, run in warps of 32 threads (wave32 on AMD) and share memory
// within a block. All threads of a warp must come to a warp's operation, and all threads of a block
// to sync_block(): the emulation reports where they do not.
//
//   TETRAD_DEVICE float twice(float x) { return 2 * x; }
//   TETRAD_KERNEL(double_all, DoubleAllArgs, 256) {  // 256 threads a block
//     const int64_t i = block_x() * 256 + thread_index();
//     if (i < args.n) args.x[i] = twice(args.x[i]);
//   }

#include <cstdint>

#if defined(__NVPTX__)
#include "gpu/dialect_nvptx.h"
#elif defined(__AMDGCN__)
#include "gpu/dialect_amdgcn.h"
#else
#include "gpu/dialect_emulated.h"
#endif

namespace tetrad::gpu {

#if defined(__NVPTX__) || defined(__AMDGCN__)
inline constexpr bool kIsEmulated = false;
#else
inline constexpr bool kIsEmulated = true;
#endif
inline constexpr uint32_t kWarpSize = 32;

TETRAD_DEVICE uint32_t lane() {
  return thread_index() % kWarpSize;
}
TETRAD_DEVICE uint32_t warp() {
  return thread_index() / kWarpSize;
}

/// 16 bytes, the most that one instruction loads.
struct alignas(16) Words4 {
  uint32_t word[4];
};

struct alignas(8) Words2 {
  uint32_t word[2];
};

TETRAD_DEVICE float bfloat_to_float(uint16_t bits) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
}

/// The sum over the warp's threads, by a tree whose shape is fixed; every thread gets it.
TETRAD_DEVICE float warp_sum(float value) {
  for (uint32_t step = kWarpSize / 2; step > 0; step /= 2)
    value += shuffle_xor(value, step);
  return value;
}

/// The same of several values, side by side: none waits for another.
template <uint32_t kCount>
TETRAD_DEVICE void warp_sum(float (&values)[kCount]) {
  TETRAD_UNROLL
  for (uint32_t step = kWarpSize / 2; step > 0; step /= 2) {
    float others[kCount];
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCount; ++i)
      others[i] = shuffle_xor(values[i], step);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCount; ++i)
      values[i] += others[i];
  }
}

TETRAD_DEVICE uint32_t count_bits(uint32_t bits) {
  return static_cast<uint32_t>(__builtin_popcount(bits));
}
/// Of a ballot's bits, those of the lanes before this one.
TETRAD_DEVICE uint32_t count_bits_before(uint32_t bits) {
  return count_bits(bits & ((1u << lane()) - 1));
}

/// A key that orders as the float does: of numbers above 0 and below ~0.
TETRAD_DEVICE uint32_t ordered_bits(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
/// The float that ordered_bits() made them of.
TETRAD_DEVICE float of_ordered_bits(uint32_t order) {
  return __builtin_bit_cast(float, (order & 0x80000000u) != 0 ? order ^ 0x80000000u : ~order);
}

#if !defined(__NVPTX__)
/// What e4m3_as_halves takes from a value: q and the output are multiplied by it once instead of
/// each key and value.
inline constexpr float kE4m3Factor = 256;

/// Byte i of `a` and byte j of `b`, which are E4M3 numbers, over kE4m3Factor as halves, exactly:
/// sign, exponent and mantissa in their places. NVIDIA has an instruction for it.
TETRAD_DEVICE uint32_t e4m3_as_halves(uint32_t a, uint32_t i, uint32_t b, uint32_t j) {
  const uint32_t above = bytes_above(a, i, b, j);
  const uint32_t halves = (above & 0x80008000u) | (above >> 1 & 0x3F803F80u);
  if constexpr (kIsEmulated) {
    // A NaN, as NVIDIA's instruction has it and gfx12's code has not: what was never written must
    // not get into a sum.
    const uint32_t low = (halves & 0x7F80u) == 0x3F80u ? 0x7E00u : 0;
    const uint32_t high = (halves >> 16 & 0x7F80u) == 0x3F80u ? 0x7E000000u : 0;
    return halves | low | high;
  }
  return halves;
}
/// Those in the low (0) or high (1) half of a word.
TETRAD_DEVICE uint32_t e4m3_as_halves(uint32_t word, uint32_t half) {
  return e4m3_as_halves(word, half * 2, word, half * 2 + 1);
}
/// Bytes i of `a` and `b`, then bytes i + 1.
TETRAD_DEVICE uint32_t bytes_in_turn(uint32_t a, uint32_t b, uint32_t i) {
  const uint32_t from_a = a >> 8 * i;
  const uint32_t from_b = b >> 8 * i;
  return (from_a & 0xFFu) | (from_b & 0xFFu) << 8 | (from_a & 0xFF00u) << 8 |
         (from_b & 0xFF00u) << 16;
}
TETRAD_DEVICE void load_fresh_16(uint32_t (&to)[4], const void* from) {
  for (uint32_t i = 0; i < 4; ++i)
    to[i] = load_fresh(static_cast<const uint32_t*>(from) + i);
}
TETRAD_DEVICE void store_shared_if(bool wanted, uint32_t* to, uint32_t value) {
  if (wanted) *to = value;
}
TETRAD_DEVICE uint32_t warp_max(uint32_t value) {
  for (uint32_t step = kWarpSize / 2; step > 0; step /= 2) {
    const uint32_t other = shuffle_xor(value, step);
    value = other > value ? other : value;
  }
  return value;
}
#endif

}  // namespace tetrad::gpu
