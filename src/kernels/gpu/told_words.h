#pragma once

// What blocks of one launch tell each other while all of them are at work: words that are kNotYet
// until they are there. A word is its own sign; one beside it would need a fence, which takes
// several microseconds while memory is busy.

#include "gpu/fragment.h"

namespace tetrad::gpu {

/// No pair of halves and no float that a kernel computes: NVIDIA's units make 7FFFFFFF of what is
/// no number, and float_to_half() gives numbers alone.
inline constexpr uint32_t kNotYet = ~0u;

namespace TETRAD_MACHINE {

TETRAD_DEVICE void tell_float(float* to, float value) {
  store_fresh(reinterpret_cast<uint32_t*>(to), __builtin_bit_cast(uint32_t, value));
}
TETRAD_DEVICE bool is_told(uint32_t word) {
  return word != kNotYet;
}
TETRAD_DEVICE bool is_told(const Words4& words) {
  bool are_told = true;
  TETRAD_UNROLL
  for (const uint32_t word : words.word)
    are_told = are_told && is_told(word);
  return are_told;
}
/// Waits for all that `told` is a first look at, words or pieces of 16 bytes; look(i) loads the
/// ith. All are looked at again together: one after the other each would take a way to memory and
/// back of its own.
template <class T, uint32_t kCount, class Look>
TETRAD_DEVICE void wait_for_told(T (&told)[kCount], const Look& look) {
  for (uint32_t looks = 0;;) {
    bool are_told = true;
    TETRAD_UNROLL
    for (const T& one : told)
      are_told = are_told && is_told(one);
    if (are_told) return;
    look_again(looks);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCount; ++i)
      told[i] = look(i);
  }
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
