#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cpu/shares.h"
#include "kernels/cpu/simd_kernels.h"
#include "kernels/int8_block.h"
#include "kernels/kernels.h"

namespace tetrad {

/// Rows that go into a matrix product, each by its address. A weight's format decides which of the
/// two it takes; the other may be null.
struct MatMulRows {
  const float* const* f32 = nullptr;
  const Int8Block* const* int8 = nullptr;

  MatMulRows from(int64_t first) const {
    return {f32 == nullptr ? nullptr : f32 + first, int8 == nullptr ? nullptr : int8 + first};
  }
};

/// Rows of 8-bit activations that own their memory and keep it.
class Int8Rows {
 public:
  void resize(int64_t rows, int64_t cols) {
    blocks_per_row_ = int8_blocks_for(cols);
    const auto needed = static_cast<size_t>(rows * blocks_per_row_);
    if (blocks_.size() < needed) blocks_.resize(needed);
  }

  Int8Block* row(int64_t i) { return blocks_.data() + i * blocks_per_row_; }

  /// Rows as they are in x.
  void quantize(const Activations& x, ThreadPool& pool, const SimdKernels& simd) {
    resize(x.rows, x.cols);
    for_each_share_of_rows(pool, x.rows, [&](Share share) {
      for (int64_t i = share.begin; i < share.end; ++i)
        simd.quantize_int8(x.row(i), 0, x.cols, x.cols, row(i));
    });
  }

 private:
  std::vector<Int8Block> blocks_;
  int64_t blocks_per_row_ = 0;
};

}  // namespace tetrad
