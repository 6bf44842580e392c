#pragma once

// One weight matrix in, its tensors in an output format out.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "checkpoint/weight.h"
#include "quant/scale_search.h"

namespace tetrad {

/// What `tetrad quantize` writes (mxfp4_16 spec, sections 2 and 7).
enum class TargetFormat : uint8_t {
  mxfp4_16,  // weight_packed U8 [N, K/2], weight_scale F16 [N, K/16]
  mxfp4,     // OCP, compressed-tensors: weight_packed U8 [N, K/2], weight_scale U8 (E8M0) [N, K/32]
  nvfp4,     // compressed-tensors: weight_packed U8, weight_scale F8_E4M3 [N, K/16],
             // weight_global_scale F32 [1], a divisor
  fp8_block,  // weight F8_E4M3 [N, K], weight_scale_inv F32 [ceil(N/128), ceil(K/128)]
  bf16,       // weight BF16 [N, K]
};

/// "mxfp4_16", "mxfp4", "nvfp4", "fp8_block", "bf16".
std::string_view target_format_name(TargetFormat format);

struct EncodeOptions {
  TargetFormat format = TargetFormat::mxfp4_16;
  // Of mxfp4_16 alone. Against the fast search the exact one saves 0.1 % of the squared error
  // (0.2 % with importance, up to 4 % where that differs wildly within a group) for four times the
  // time, which for 229e9 weights is some two hours of one core. A model is quantized once.
  ScaleSearch search = ScaleSearch::exact;
  ScaleSigns signs = ScaleSigns::both;
};

/// What quantizing did to one matrix, or to several when added up.
struct QuantizationLoss {
  int64_t groups = 0;
  int64_t negative_scales = 0;
  int64_t subnormal_scales = 0;  // 0 < |scale| < 2^-14
  int64_t zero_scales = 0;
  int64_t clipped_scales = 0;  // at the largest scale of the format
  double energy = 0;           // Σ w²
  double squared_error = 0;    // Σ (w - what is stored)²

  void add(const QuantizationLoss& other);
  /// A group and its FP16 scale.
  void count_f16_scale(float scale);
  /// A weight, and how far it is from what is stored.
  void count_error(double weight, double difference);
  /// √(squared_error / energy), 0 for a matrix of zeros.
  double relative_rms_error() const;
};

/// A tensor "<module>.<suffix>" without its bytes.
struct TensorLayout {
  std::string_view suffix;
  DType dtype = DType::u8;
  std::vector<int64_t> shape;

  int64_t bytes() const;
};

/// Input channels that share a scale, which must divide those of a matrix.
int64_t channels_of_a_scale(TargetFormat format);
/// Error: `cols` that the format cannot cut into its groups.
Result<void> check_channels(std::string_view module, TargetFormat format, int64_t cols);

/// The tensors of a [rows, cols] matrix in `format`, in the order in which they are written.
std::vector<TensorLayout> encoded_layout(TargetFormat format, int64_t rows, int64_t cols);

struct EncodedMatrix {
  /// The bytes of each tensor of encoded_layout(), in its order.
  std::vector<std::vector<std::byte>> tensors;
  QuantizationLoss loss;
};

/// Tensors of encoded_layout() to be filled in.
EncodedMatrix empty_encoding(TargetFormat format, int64_t rows, int64_t cols);

/// Encodes a matrix of any readable format. `importance`: empty, or [cols] finite numbers >= 0, the
/// mean squared activation of each input channel, which weighs the squared error of the scale
/// search (mxfp4_16 alone). The rows are shared among the threads of `pool`; the result, sums
/// included, depends neither on how many those are nor on the instruction set of the machine.
/// Errors: a weight that is NaN or infinite, with `module`, row and column; cols that the format
/// cannot cut into its groups.
Result<EncodedMatrix> encode_matrix(std::string_view module, const WeightMatrix& source,
                                    const EncodeOptions& options, std::span<const float> importance,
                                    ThreadPool& pool);

}  // namespace tetrad
