#pragma once

// How some rows become bytes, for every output format: the inside of encode_matrix().

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "quant/encode_matrix.h"

namespace tetrad {

/// Writes rows of one matrix, whose weights are finite, to the tensors of its encoded_layout().
class RowEncoder {
 public:
  /// `amax`: the largest magnitude of the whole matrix. The tensors and the importance must outlive
  /// the encoder; the scale of the whole matrix, if the format has one, is written at once.
  RowEncoder(const EncodeOptions& options, std::span<const float> importance, int64_t cols,
             float amax, std::vector<std::vector<std::byte>>& tensors);

  /// `weights`: [n, cols], rows from `first_row` on; with fp8_block all rows of a block, which
  /// begins at first_row. May be called for different rows by several threads at once.
  void encode(int64_t first_row, std::span<const float> weights, QuantizationLoss& loss) const;

 private:
  void encode_mxfp4_16(int64_t row, std::span<const float> weights, QuantizationLoss& loss) const;
  void encode_mxfp4(int64_t row, std::span<const float> weights, QuantizationLoss& loss) const;
  void encode_nvfp4(int64_t row, std::span<const float> weights, QuantizationLoss& loss) const;
  void encode_fp8_block(int64_t row, std::span<const float> weights, QuantizationLoss& loss) const;
  void encode_bf16(int64_t row, std::span<const float> weights, QuantizationLoss& loss) const;
  std::byte* at(size_t tensor, int64_t byte) const { return tensors_[tensor].data() + byte; }

  EncodeOptions options_;
  std::span<const float> importance_;
  int64_t cols_;
  float global_scale_ = 1;  // nvfp4: a divisor
  std::vector<std::vector<std::byte>>& tensors_;
};

}  // namespace tetrad
