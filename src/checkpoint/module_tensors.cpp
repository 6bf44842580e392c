#include "checkpoint/module_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

namespace tetrad {
namespace {

// mxfp4_16 spec, section 6, rule 3. "weight" counts as packed when its dtype is U8.
constexpr std::array<std::string_view, 4> kPackedNames = {"weight_packed", "qweight", "weight",
                                                          "weight_q"};
constexpr std::array<std::string_view, 3> kScaleNames = {"weight_scale", "scales", "weight_scales"};

/// Scales of activations and of the KV cache: they belong to no format of the weight itself.
constexpr std::array<std::string_view, 5> kForeignNames = {"k_scale", "v_scale", "q_scale",
                                                           "output_scale", "input_scale"};

using NamedTensor = ModuleTensors::value_type;

tl::unexpected<Error> unsupported(const ModuleTensors& tensors, const std::string& why) {
  return fail(ErrorCode::unsupported, "{}; the module has {}", why, describe(tensors));
}

Result<void> check_shape(const NamedTensor& tensor, std::initializer_list<int64_t> wanted) {
  const auto& [name, view] = tensor;
  if (std::equal(view->shape.begin(), view->shape.end(), wanted.begin(), wanted.end())) return {};
  return fail(ErrorCode::corrupt_data, "{} has shape [{}] where [{}] is needed", name,
              fmt::join(view->shape, ", "), fmt::join(wanted, ", "));
}

/// The one tensor under any of the names, nothing when there is none. Two are refused: which one
/// holds the weight cannot be known.
Result<std::optional<NamedTensor>> find_alias(const ModuleTensors& tensors,
                                              std::span<const std::string_view> names) {
  std::optional<NamedTensor> found;
  for (const std::string_view name : names) {
    const auto tensor = tensors.find(name);
    if (tensor == tensors.end()) continue;
    if (found) {
      return unsupported(tensors, fmt::format("{} and {} both could be meant", found->first, name));
    }
    found.emplace(*tensor);
  }
  return found;
}

/// Every tensor must have been understood: an unread zero point would be silent garbage.
Result<void> check_all_used(const ModuleTensors& tensors,
                            std::initializer_list<std::string_view> used) {
  for (const auto& [name, view] : tensors) {
    const bool known =
        std::find(used.begin(), used.end(), name) != used.end() ||
        std::find(kForeignNames.begin(), kForeignNames.end(), name) != kForeignNames.end();
    if (!known) return unsupported(tensors, fmt::format("{} is not expected here", name));
  }
  return {};
}

Result<WeightMatrix> dense_matrix(const ModuleTensors& tensors, const NamedTensor& weight,
                                  WeightFormat format, int64_t rows, int64_t cols) {
  TETRAD_TRY(check_all_used(tensors, {weight.first}));
  TETRAD_TRY(check_shape(weight, {rows, cols}));
  return WeightMatrix{
      .format = format, .rows = rows, .cols = cols, .data = weight.second->bytes.data()};
}

Result<WeightMatrix> fp8_matrix(const ModuleTensors& tensors, const NamedTensor& weight,
                                int64_t rows, int64_t cols) {
  const auto scale = tensors.find("weight_scale_inv");
  if (scale == tensors.end() || scale->second->dtype != DType::f32) {
    return unsupported(tensors, "an F8_E4M3 weight needs a weight_scale_inv of dtype F32");
  }
  TETRAD_TRY(check_all_used(tensors, {weight.first, scale->first}));
  TETRAD_TRY(check_shape(weight, {rows, cols}));
  TETRAD_TRY(check_shape(*scale, {(rows + kFp8BlockSize - 1) / kFp8BlockSize,
                                  (cols + kFp8BlockSize - 1) / kFp8BlockSize}));
  return WeightMatrix{.format = WeightFormat::fp8_block,
                      .rows = rows,
                      .cols = cols,
                      .data = weight.second->bytes.data(),
                      .scales = scale->second->bytes.data()};
}

Result<WeightMatrix> mxfp4_16_matrix(const ModuleTensors& tensors, const NamedTensor& packed,
                                     int64_t rows, int64_t cols, const Codebook& codebook) {
  TETRAD_ASSIGN(const std::optional<NamedTensor> scale, find_alias(tensors, kScaleNames));
  if (!scale || scale->second->dtype != DType::f16) {
    return unsupported(tensors,
                       fmt::format("a U8 {} needs a weight_scale of dtype F16", packed.first));
  }
  TETRAD_TRY(check_all_used(tensors, {packed.first, scale->first}));
  if (cols % kMxfp4GroupSize != 0) {
    return unsupported(tensors,
                       fmt::format("{} columns are not a multiple of {}", cols, kMxfp4GroupSize));
  }
  TETRAD_TRY(check_shape(packed, {rows, cols / 2}));
  // The group size is what the scales say, never what config.json claims.
  const std::vector<int64_t>& scale_shape = scale->second->shape;
  if (scale_shape.size() == 2 && scale_shape[0] == rows && scale_shape[1] > 0 &&
      scale_shape[1] != cols / kMxfp4GroupSize && cols % scale_shape[1] == 0) {
    return unsupported(tensors, fmt::format("groups of {} columns share one scale; only groups of "
                                            "{} are implemented",
                                            cols / scale_shape[1], kMxfp4GroupSize));
  }
  TETRAD_TRY(check_shape(*scale, {rows, cols / kMxfp4GroupSize}));
  return WeightMatrix{.format = WeightFormat::mxfp4_16,
                      .rows = rows,
                      .cols = cols,
                      .data = packed.second->bytes.data(),
                      .scales = scale->second->bytes.data(),
                      .codebook = codebook};
}

}  // namespace

ModuleTensors tensors_of_module(const TensorMap& tensors, std::string_view module) {
  const std::string prefix = fmt::format("{}.", module);
  ModuleTensors found;
  for (auto it = tensors.lower_bound(prefix); it != tensors.end() && it->first.starts_with(prefix);
       ++it) {
    const std::string_view suffix = std::string_view(it->first).substr(prefix.size());
    if (suffix.find('.') == std::string_view::npos) found.emplace(suffix, &it->second);
  }
  return found;
}

std::string describe(const ModuleTensors& tensors) {
  std::string text;
  for (const auto& [name, view] : tensors) {
    text += fmt::format("{}{} {} [{}]", text.empty() ? "" : ", ", name, dtype_name(view->dtype),
                        fmt::join(view->shape, ", "));
  }
  return text;
}

Result<WeightMatrix> weight_matrix_of(const ModuleTensors& tensors, int64_t rows, int64_t cols,
                                      const Codebook& codebook) {
  TETRAD_ASSIGN(const std::optional<NamedTensor> weight, find_alias(tensors, kPackedNames));
  if (!weight) return unsupported(tensors, "no tensor with the weight itself");
  const DType dtype = weight->second->dtype;
  if (dtype == DType::u8) return mxfp4_16_matrix(tensors, *weight, rows, cols, codebook);
  if (weight->first == "weight") {
    if (dtype == DType::bf16) return dense_matrix(tensors, *weight, WeightFormat::bf16, rows, cols);
    if (dtype == DType::f16) return dense_matrix(tensors, *weight, WeightFormat::f16, rows, cols);
    if (dtype == DType::f32) return dense_matrix(tensors, *weight, WeightFormat::f32, rows, cols);
    if (dtype == DType::f8_e4m3) return fp8_matrix(tensors, *weight, rows, cols);
  }
  return unsupported(tensors, fmt::format("a {} of dtype {} is no format known here", weight->first,
                                          dtype_name(dtype)));
}

}  // namespace tetrad
