#pragma once

// The table of pairs of levels with rows of twice the bytes: one permutation of bytes makes an
// address of a byte of codes, where a shift and a mask take as long as reading the weights from
// memory does. For blocks that have a multiprocessor to themselves, on machines that have such a
// permutation (NVIDIA's).

#include "kernels/gpu/packed_matrix.h"

namespace tetrad::gpu {

/// For fill_level_table(). Nothing is in the second half of a row.
inline constexpr uint32_t kWideRowWords = 64;
inline constexpr uint32_t kWideRowBytes = kWideRowWords * 4;
inline constexpr uint32_t kWideTableBytes = 256 * kWideRowBytes;

namespace TETRAD_MACHINE {

TETRAD_DEVICE uint32_t wide_level_pair(const uint32_t* table, uint32_t codes, uint32_t byte) {
  const uint32_t offset = byte_above(codes, byte, lane() * 4);
  return *reinterpret_cast<const uint32_t*>(reinterpret_cast<const char*>(table) + offset);
}

}  // namespace TETRAD_MACHINE
}  // namespace tetrad::gpu
