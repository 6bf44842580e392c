#pragma once

#include "kernels/cpu/simd_kernels.h"

namespace tetrad {

/// Asks for the cache blocks that are used next, some lines at a time: blocks lie anywhere in the
/// cache, so the hardware cannot foresee them, and it does not take many requests at once.
struct BlockPrefetch {
  static constexpr int kMaxBlocks = 4;

  /// Two more cache lines. Whoever calls it too often asks for the last block again. Inline, since
  /// GCC 12 drops calls of a function that does nothing but prefetch.
  [[gnu::always_inline]] void advance() {
    if (line == line_end) {
      if (next < kMaxBlocks - 1) ++next;
      line = blocks[next];
      line_end = line + block_bytes;
    }
    __builtin_prefetch(line);
    __builtin_prefetch(line + 64);
    line += 128;
  }

  const unsigned char* blocks[kMaxBlocks] = {};
  int64_t block_bytes = 0;  // a multiple of 128
  int64_t next = -1;        // of blocks
  const unsigned char* line = nullptr;
  const unsigned char* line_end = nullptr;
};

}  // namespace tetrad
