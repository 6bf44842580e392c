#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/config.h"
#include "kernels/kernels.h"

namespace tetrad {

/// A float32 matrix that grows to the largest batch it has seen and keeps its memory.
class ActivationBuffer {
 public:
  explicit ActivationBuffer(int64_t cols) : cols_(cols) {}

  /// The first `rows` rows; contents are whatever the last step left.
  Activations rows(int64_t rows) {
    const auto needed = static_cast<size_t>(rows * cols_);
    if (memory_.size() < needed) memory_.resize(needed);
    return {memory_.data(), rows, cols_};
  }

 private:
  int64_t cols_;
  std::vector<float> memory_;
};

}  // namespace tetrad
