// FP8 weights: HF's block format and compressed-tensors' float-quantized (mxfp4_16 spec, sections
// 7.4 and 7.5). Their scales multiply, whatever they are called.

#include <fmt/format.h>

#include <array>
#include <optional>

#include "base/integer_math.h"
#include "checkpoint/module_checks.h"

namespace tetrad {
namespace {

using Shape = std::vector<int64_t>;

/// The shape of the scales says what one belongs to.
std::optional<ScaleLayout> fp8_scale_layout(const ModuleToRead& module, const TensorView& scale) {
  const Shape& shape = scale.shape;
  const int64_t rows = module.rows;
  const int64_t cols = module.cols;
  if (shape == Shape{ceil_div(rows, kFp8BlockSize), ceil_div(cols, kFp8BlockSize)}) {
    return ScaleLayout{
        .dtype = scale.dtype, .rows_per_scale = kFp8BlockSize, .cols_per_scale = kFp8BlockSize};
  }
  if (shape.empty() || shape == Shape{1} || shape == Shape{1, 1}) {
    return ScaleLayout{.dtype = scale.dtype, .rows_per_scale = rows, .cols_per_scale = cols};
  }
  if (shape == Shape{rows} || shape == Shape{rows, 1}) {
    return ScaleLayout{.dtype = scale.dtype, .cols_per_scale = cols};
  }
  return std::nullopt;
}

}  // namespace

Result<WeightMatrix> fp8_matrix(const ModuleToRead& module, const NamedTensor& weight) {
  constexpr std::array<std::string_view, 2> kNames = {"weight_scale_inv", "weight_scale"};
  TETRAD_ASSIGN(const std::optional<NamedTensor> scale, module.find_alias(kNames));
  if (!scale || !is_dense_dtype(scale->second->dtype)) {
    return module.unsupported(fmt::format("an F8_E4M3 weight needs a {} of dtype F32, BF16 or F16",
                                          fmt::join(kNames, " or a ")));
  }
  TETRAD_TRY(module.check_all_used(std::array{weight.first, scale->first}));
  TETRAD_TRY(check_shape(weight, {module.rows, module.cols}));
  const auto layout = fp8_scale_layout(module, *scale->second);
  if (!layout) {
    return fail(ErrorCode::corrupt_data,
                "{} has shape [{}] where [1] for the matrix, [{}, 1] for its rows or [{}, {}] for "
                "its blocks of {} is needed",
                scale->first, fmt::join(scale->second->shape, ", "), module.rows,
                ceil_div(module.rows, kFp8BlockSize), ceil_div(module.cols, kFp8BlockSize),
                kFp8BlockSize);
  }
  // The layout that kernels have a loop of their own for.
  const bool is_plain = layout->dtype == DType::f32 && layout->rows_per_scale == kFp8BlockSize &&
                        layout->cols_per_scale == kFp8BlockSize;
  return WeightMatrix{.format = is_plain ? WeightFormat::fp8_block : WeightFormat::fp8,
                      .rows = module.rows,
                      .cols = module.cols,
                      .data = weight.second->bytes.data(),
                      .scales = scale->second->bytes.data(),
                      .scale_layout = *layout};
}

}  // namespace tetrad
