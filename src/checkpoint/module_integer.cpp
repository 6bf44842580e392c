// compressed-tensors' pack-quantized: integers of 4 or 8 bits in 32-bit words (mxfp4_16 spec,
// section 7.1).

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <optional>

#include "base/integer_math.h"
#include "checkpoint/module_checks.h"

namespace tetrad {
namespace {

constexpr std::string_view kShapeName = "weight_shape";
constexpr std::string_view kZeroPointName = "weight_zero_point";
constexpr std::string_view kGroupsName = "weight_g_idx";

int64_t words_for(int64_t count, int64_t bits) {
  return ceil_div(count * bits, 32);
}

Result<WeightFormat> format_by_width(const ModuleToRead& module, const NamedTensor& packed) {
  const std::vector<int64_t>& shape = packed.second->shape;
  const int64_t words = shape.size() == 2 ? shape[1] : -1;
  const bool is_int4 = words == words_for(module.cols, 4);
  const bool is_int8 = words == words_for(module.cols, 8);
  if (shape.size() != 2 || shape[0] != module.rows || is_int4 == is_int8) {
    return module.unsupported(
        fmt::format("{} is neither the [{}, {}] of 4-bit nor the [{}, {}] of "
                    "8-bit integers, which are implemented",
                    packed.first, module.rows, words_for(module.cols, 4), module.rows,
                    words_for(module.cols, 8)));
  }
  return is_int4 ? WeightFormat::int4 : WeightFormat::int8;
}

/// weight_shape holds what the words cannot say: how many of the last row's bits count.
Result<void> check_stored_shape(const ModuleToRead& module) {
  const auto tensor = module.find(kShapeName);
  if (!tensor) return module.unsupported("an I32 weight_packed needs a weight_shape");
  TETRAD_TRY(check_shape(*tensor, {2}));
  std::array<int64_t, 2> stored{};
  const std::span<const std::byte> bytes = tensor->second->bytes;
  if (tensor->second->dtype == DType::i64) {
    std::memcpy(stored.data(), bytes.data(), sizeof stored);
  } else if (tensor->second->dtype == DType::i32) {
    std::array<int32_t, 2> narrow{};
    std::memcpy(narrow.data(), bytes.data(), sizeof narrow);
    stored = {narrow[0], narrow[1]};
  } else {
    return module.unsupported("weight_shape must be I64 or I32");
  }
  if (stored == std::array{module.rows, module.cols}) return {};
  return fail(ErrorCode::corrupt_data, "weight_shape holds ({}, {}) where ({}, {}) is needed",
              stored[0], stored[1], module.rows, module.cols);
}

Result<void> check_dtype_i32(const ModuleToRead& module, const NamedTensor& tensor) {
  if (tensor.second->dtype == DType::i32) return {};
  return module.unsupported(fmt::format("{} must be I32", tensor.first));
}

/// Groups of columns from the shape of the scales, [rows, groups].
Result<int64_t> group_size_of(const ModuleToRead& module, const NamedTensor& scale) {
  const std::vector<int64_t>& shape = scale.second->shape;
  if (shape.size() != 2 || shape[0] != module.rows || shape[1] < 1) {
    return fail(ErrorCode::corrupt_data, "{} has shape [{}] where [{}, groups] is needed",
                scale.first, fmt::join(shape, ", "), module.rows);
  }
  if (module.cols % shape[1] == 0) return module.cols / shape[1];
  return fail(ErrorCode::corrupt_data,
              "{} has {} groups, and {} columns are not a multiple of that", scale.first, shape[1],
              module.cols);
}

Result<void> add_zero_points(const ModuleToRead& module, WeightMatrix& matrix) {
  const auto tensor = module.find(kZeroPointName);
  if (!tensor) return {};
  TETRAD_TRY(check_dtype_i32(module, *tensor));
  const int64_t bits = integer_bits(matrix.format);
  TETRAD_TRY(check_shape(
      *tensor, {words_for(module.rows, bits), module.cols / matrix.scale_layout.cols_per_scale}));
  matrix.zero_points = tensor->second->bytes.data();
  return {};
}

Result<void> add_groups_of_columns(const ModuleToRead& module, WeightMatrix& matrix) {
  const auto tensor = module.find(kGroupsName);
  if (!tensor) return {};
  TETRAD_TRY(check_dtype_i32(module, *tensor));
  TETRAD_TRY(check_shape(*tensor, {module.cols}));
  const int64_t groups = module.cols / matrix.scale_layout.cols_per_scale;
  for (int64_t col = 0; col < module.cols; ++col) {
    int32_t group = 0;
    std::memcpy(&group, tensor->second->bytes.data() + col * int64_t{sizeof group}, sizeof group);
    if (group >= 0 && group < groups) continue;
    return fail(ErrorCode::corrupt_data, "{}[{}] is {}, which is none of the {} groups",
                tensor->first, col, group, groups);
  }
  matrix.group_of_column = tensor->second->bytes.data();
  return {};
}

}  // namespace

Result<WeightMatrix> integer_matrix(const ModuleToRead& module, const NamedTensor& packed) {
  TETRAD_TRY(check_stored_shape(module));
  TETRAD_ASSIGN(const WeightFormat format, format_by_width(module, packed));
  TETRAD_ASSIGN(const std::optional<NamedTensor> scale, module.find_alias(scale_names()));
  if (!scale || !is_dense_dtype(scale->second->dtype)) {
    return module.unsupported("an I32 weight_packed needs a weight_scale of BF16, F16 or F32");
  }
  TETRAD_TRY(module.check_all_used(
      std::array{packed.first, scale->first, kShapeName, kZeroPointName, kGroupsName}));
  WeightMatrix matrix{.format = format,
                      .rows = module.rows,
                      .cols = module.cols,
                      .data = packed.second->bytes.data(),
                      .scales = scale->second->bytes.data(),
                      .scale_layout = {.dtype = scale->second->dtype}};
  TETRAD_ASSIGN(matrix.scale_layout.cols_per_scale, group_size_of(module, *scale));
  TETRAD_TRY(add_zero_points(module, matrix));
  TETRAD_TRY(add_groups_of_columns(module, matrix));
  return matrix;
}

}  // namespace tetrad
