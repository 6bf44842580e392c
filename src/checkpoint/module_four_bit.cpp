// Modules with two 4-bit codes in each byte of a U8 tensor. The dtype of the scales says which
// format it is (mxfp4_16 spec, sections 6 and 7).

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <optional>

#include "base/integer_math.h"
#include "checkpoint/dense_values.h"
#include "checkpoint/module_checks.h"

namespace tetrad {
namespace {

using Shape = std::vector<int64_t>;

/// Groups with one scale: 16 columns in mxfp4_16 and NVFP4, 32 in MXFP4 and where mxfp4_16's codes
/// are written by a sibling.
constexpr std::array<int64_t, 2> kGroupSizes = {kMxfp4GroupSize, 2 * kMxfp4GroupSize};

/// How a pair of codes and scales stands in the file.
struct PairLayout {
  int64_t group_size = 0;
  bool codes_transposed = false;
  bool scales_transposed = false;
};

/// Whether the last group of a row may have fewer columns than the others.
enum class LastGroup : uint8_t { whole, may_be_partial };

/// The group size is what the scales say, never what config.json claims. Shapes that are the same
/// either way follow the other tensor of the pair.
Result<PairLayout> layout_of_pair(const ModuleToRead& module, const NamedTensor& packed,
                                  const NamedTensor& scale, LastGroup last_group) {
  const int64_t rows = module.rows;
  const int64_t cols = module.cols;
  const int64_t grain = last_group == LastGroup::whole ? kMxfp4GroupSize : 2;
  if (cols % grain != 0) {
    return module.unsupported(fmt::format("{} columns are not a multiple of {}", cols, grain));
  }
  const Shape& codes_shape = packed.second->shape;
  const bool codes_plain = codes_shape == Shape{rows, cols / 2};
  const bool codes_turned = codes_shape == Shape{cols / 2, rows};
  if (!codes_plain && !codes_turned) TETRAD_TRY(check_shape(packed, {rows, cols / 2}));

  const Shape& scale_shape = scale.second->shape;
  for (const int64_t size : kGroupSizes) {
    if (cols % size != 0 && last_group == LastGroup::whole) continue;
    const int64_t groups = ceil_div(cols, size);
    const bool scales_plain = scale_shape == Shape{rows, groups};
    const bool scales_turned = scale_shape == Shape{groups, rows};
    if (!scales_plain && !scales_turned) continue;
    return PairLayout{.group_size = size,
                      .codes_transposed = !codes_plain || (codes_turned && !scales_plain),
                      .scales_transposed = !scales_plain || (scales_turned && !codes_plain)};
  }
  if (scale_shape.size() == 2 && scale_shape[0] == rows && scale_shape[1] > 0 &&
      cols % scale_shape[1] == 0) {
    return module.unsupported(
        fmt::format("groups of {} columns share one scale; only groups of {} are implemented",
                    cols / scale_shape[1], fmt::join(kGroupSizes, " and ")));
  }
  TETRAD_TRY(check_shape(scale, {rows, ceil_div(cols, kMxfp4GroupSize)}));
  return PairLayout{};
}

Result<WeightMatrix> matrix_of_pair(const ModuleToRead& module, WeightFormat format,
                                    const NamedTensor& packed, const NamedTensor& scale,
                                    DType scale_dtype, const CodeMeaning& meaning) {
  const auto last_group =
      format == WeightFormat::codebook4 ? LastGroup::may_be_partial : LastGroup::whole;
  TETRAD_ASSIGN(const PairLayout layout, layout_of_pair(module, packed, scale, last_group));
  return WeightMatrix{.format = format,
                      .rows = module.rows,
                      .cols = module.cols,
                      .data = packed.second->bytes.data(),
                      .scales = scale.second->bytes.data(),
                      .codebook = meaning.codebook,
                      .scale_layout = {.dtype = scale_dtype,
                                       .cols_per_scale = layout.group_size,
                                       .transposed = layout.scales_transposed},
                      .nibble_order = meaning.nibble_order,
                      .codes_transposed = layout.codes_transposed};
}

/// mxfp4_16 as it is written today, for which kernels have loops of their own.
bool is_plain_mxfp4_16(const WeightMatrix& matrix) {
  const ScaleLayout& layout = matrix.scale_layout;
  return layout.dtype == DType::f16 && layout.cols_per_scale == kMxfp4GroupSize &&
         matrix.cols % kMxfp4GroupSize == 0 && !layout.transposed && !matrix.codes_transposed &&
         matrix.nibble_order == NibbleOrder::low_first;
}

/// The one number of a tensor, which must be positive.
Result<float> positive_number(const NamedTensor& tensor) {
  const auto values = dense_values(*tensor.second);
  if (!values || values->size() != 1) {
    return fail(ErrorCode::corrupt_data, "{} {} [{}] is not one F32, F16 or BF16 number",
                tensor.first, dtype_name(tensor.second->dtype),
                fmt::join(tensor.second->shape, ", "));
  }
  const float value = values->front();
  if (std::isfinite(value) && value > 0) return value;
  return fail(ErrorCode::corrupt_data, "{} holds {}, which is no positive number", tensor.first,
              value);
}

Result<WeightMatrix> nvfp4_matrix(const ModuleToRead& module, const NamedTensor& packed,
                                  const NamedTensor& scale, const CodeMeaning& meaning) {
  // compressed-tensors divides by its number, ModelOpt multiplies with its own.
  constexpr std::string_view kDivisor = "weight_global_scale";
  constexpr std::array<std::string_view, 2> kNames = {kDivisor, "weight_scale_2"};
  TETRAD_ASSIGN(const std::optional<NamedTensor> global, module.find_alias(kNames));
  if (!global) {
    return module.unsupported(fmt::format("a U8 {} with F8_E4M3 scales needs a {}", packed.first,
                                          fmt::join(kNames, " or a ")));
  }
  TETRAD_TRY(module.check_all_used(std::array{packed.first, scale.first, global->first}));
  TETRAD_ASSIGN(WeightMatrix matrix, matrix_of_pair(module, WeightFormat::nvfp4, packed, scale,
                                                    DType::f8_e4m3, meaning));
  TETRAD_ASSIGN(matrix.global_scale, positive_number(*global));
  matrix.divide_by_global_scale = global->first == kDivisor;
  return matrix;
}

}  // namespace

Result<WeightMatrix> four_bit_matrix(const ModuleToRead& module, const NamedTensor& packed,
                                     const CodeMeaning& meaning) {
  TETRAD_ASSIGN(const std::optional<NamedTensor> scale, module.find_alias(scale_names()));
  if (!scale) return module.unsupported(fmt::format("a U8 {} needs a weight_scale", packed.first));
  const DType dtype = scale->second->dtype;
  if (dtype == DType::f8_e4m3) return nvfp4_matrix(module, packed, *scale, meaning);
  const bool is_e8m0 = dtype == DType::u8 || dtype == DType::f8_e8m0;
  if (!is_e8m0 && !is_dense_dtype(dtype)) {
    return module.unsupported(
        fmt::format("scales of dtype {} belong to no format known here", dtype_name(dtype)));
  }
  TETRAD_TRY(module.check_all_used(std::array{packed.first, scale->first}));
  if (is_e8m0) {
    return matrix_of_pair(module, WeightFormat::mxfp4, packed, *scale, DType::f8_e8m0, meaning);
  }
  TETRAD_ASSIGN(WeightMatrix matrix,
                matrix_of_pair(module, WeightFormat::codebook4, packed, *scale, dtype, meaning));
  if (is_plain_mxfp4_16(matrix)) matrix.format = WeightFormat::mxfp4_16;
  return matrix;
}

}  // namespace tetrad
