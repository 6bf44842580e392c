#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "checkpoint/weight.h"

namespace tetrad {

/// What quantizing did to one matrix, or to several when added up.
struct QuantizationLoss {
  int64_t groups = 0;
  int64_t negative_scales = 0;
  int64_t subnormal_scales = 0;  // 0 < |scale| < 2^-14
  int64_t zero_scales = 0;
  int64_t clipped_scales = 0;  // at ±65504, the end of FP16
  double energy = 0;           // Σ w²
  double squared_error = 0;    // Σ (w - what is stored)²

  void add(const QuantizationLoss& other);
  /// √(squared_error / energy), 0 for a matrix of zeros.
  double relative_rms_error() const;
};

/// An mxfp4_16 matrix that owns its bytes.
struct QuantizedMatrix {
  std::vector<std::byte> packed;  // U8 [rows, cols/2], even columns in the low nibbles
  std::vector<std::byte> scales;  // F16 [rows, cols/16]
  QuantizationLoss loss;
};

/// Quantizes a matrix of any other format, whose cols must be a multiple of 16. The rows are shared
/// among the threads of `pool`; the result, sums included, does not depend on how many those are.
/// A weight that is NaN or infinite is an error that names `module`, row and column.
Result<QuantizedMatrix> quantize_matrix(std::string_view module, const WeightMatrix& source,
                                        ThreadPool& pool);

}  // namespace tetrad
