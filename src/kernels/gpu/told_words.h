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
/// Waits for all the words that `words` are a first look at; look(i) loads the ith. All are looked
/// at again together: one after the other each would take a way to memory and back of its own.
template <uint32_t kCount, class Look>
TETRAD_DEVICE void wait_for_words(uint32_t (&words)[kCount], const Look& look) {
  for (uint32_t looks = 0;;) {
    bool are_there = true;
    TETRAD_UNROLL
    for (const uint32_t word : words)
      are_there = are_there && word != kNotYet;
    if (are_there) return;
    look_again(looks);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCount; ++i)
      words[i] = look(i);
  }
}
/// The same of pieces of 16 bytes; look(i, piece) loads the ith.
template <uint32_t kCount, class Look>
TETRAD_DEVICE void wait_for_pieces(Words4 (&pieces)[kCount], const Look& look) {
  for (uint32_t looks = 0;;) {
    bool are_there = true;
    TETRAD_UNROLL
    for (const Words4& piece : pieces) {
      TETRAD_UNROLL
      for (const uint32_t word : piece.word)
        are_there = are_there && word != kNotYet;
    }
    if (are_there) return;
    look_again(looks);
    TETRAD_UNROLL
    for (uint32_t i = 0; i < kCount; ++i)
      look(i, pieces[i]);
  }
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
