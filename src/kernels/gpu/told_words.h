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

/// Waits for the word that `word` is a first look at.
TETRAD_DEVICE void wait_for_word(uint32_t& word, const uint32_t* from) {
  uint32_t looks = 0;
  while (word == kNotYet) {
    look_again(looks);
    word = load_fresh(from);
  }
}
TETRAD_DEVICE void tell_float(float* to, float value) {
  store_fresh(reinterpret_cast<uint32_t*>(to), __builtin_bit_cast(uint32_t, value));
}
/// The same of 16 bytes; `from`: a multiple of 16.
TETRAD_DEVICE void wait_for_words(Words4& words, const void* from) {
  for (uint32_t looks = 0;;) {
    bool are_there = true;
    TETRAD_UNROLL
    for (const uint32_t word : words.word)
      are_there = are_there && word != kNotYet;
    if (are_there) return;
    look_again(looks);
    load_fresh_16(words.word, from);
  }
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
