#pragma once

// Parts of a matrix, for ranks that share one: rows are views into the file, columns are copied
// together, as packed as they were.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/page_memory.h"
#include "checkpoint/weight.h"

namespace tetrad {

/// Owns what slices had to copy, close together: a step reads it all.
class SliceMemory {
 public:
  /// Throws std::bad_alloc.
  std::byte* allocate(int64_t bytes);
  int64_t bytes() const { return bytes_; }

 private:
  std::vector<PageMemory> chunks_;
  int64_t used_of_last_ = 0;
  int64_t bytes_ = 0;
};

/// Rows begin <= n < end of W as a matrix of their own, with the values of W bit by bit. Copies at
/// most scales, where a block with one scale is cut. The matrix and `memory` must outlive it.
/// Errors: unsupported, of formats of other programs that do not stand row by row.
Result<WeightMatrix> slice_rows(const WeightMatrix& matrix, int64_t begin, int64_t end,
                                SliceMemory& memory);

/// Columns begin <= k < end of W, copied. Errors: as of slice_rows, and a cut inside a group of 16
/// of mxfp4_16 or inside a byte or word of codes.
Result<WeightMatrix> slice_columns(const WeightMatrix& matrix, int64_t begin, int64_t end,
                                   SliceMemory& memory);

}  // namespace tetrad
