#include "checkpoint/module_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "checkpoint/module_checks.h"

namespace tetrad {
namespace {

// mxfp4_16 spec, section 6, rule 3. "weight" counts as packed when its dtype is U8.
constexpr std::array<std::string_view, 5> kWeightNames = {"weight_packed", "qweight", "weight",
                                                          "weight_q", "weight_fp16"};
constexpr std::array<std::string_view, 3> kScaleNames = {"weight_scale", "scales", "weight_scales"};

/// Scales of activations and of the KV cache: they belong to no format of the weight itself.
constexpr std::array<std::string_view, 6> kForeignNames = {
    "k_scale", "v_scale", "q_scale", "output_scale", "input_scale", "input_global_scale"};

std::optional<WeightFormat> dense_format_of(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return WeightFormat::bf16;
    case DType::f16:
      return WeightFormat::f16;
    case DType::f32:
      return WeightFormat::f32;
    default:
      return std::nullopt;
  }
}

Result<WeightMatrix> dense_matrix(const ModuleToRead& module, const NamedTensor& weight,
                                  WeightFormat format) {
  TETRAD_TRY(module.check_all_used(std::array{weight.first}));
  TETRAD_TRY(check_shape(weight, {module.rows, module.cols}));
  return WeightMatrix{.format = format,
                      .rows = module.rows,
                      .cols = module.cols,
                      .data = weight.second->bytes.data()};
}

}  // namespace

tl::unexpected<Error> ModuleToRead::unsupported(const std::string& why) const {
  return fail(ErrorCode::unsupported, "{}; the module has {}", why, describe(tensors));
}

std::optional<NamedTensor> ModuleToRead::find(std::string_view name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) return std::nullopt;
  return *found;
}

Result<std::optional<NamedTensor>> ModuleToRead::find_alias(
    std::span<const std::string_view> names) const {
  std::optional<NamedTensor> found;
  for (const std::string_view name : names) {
    const auto tensor = tensors.find(name);
    if (tensor == tensors.end()) continue;
    if (found) {
      return unsupported(fmt::format("{} and {} both could be meant", found->first, name));
    }
    found.emplace(*tensor);
  }
  return found;
}

Result<void> ModuleToRead::check_all_used(std::span<const std::string_view> used) const {
  for (const auto& [name, view] : tensors) {
    const bool known = std::ranges::find(used, name) != used.end() ||
                       std::ranges::find(kForeignNames, name) != kForeignNames.end();
    if (!known) return unsupported(fmt::format("{} is not expected here", name));
  }
  return {};
}

Result<void> check_shape(const NamedTensor& tensor, std::initializer_list<int64_t> wanted) {
  const auto& [name, view] = tensor;
  if (std::equal(view->shape.begin(), view->shape.end(), wanted.begin(), wanted.end())) return {};
  return fail(ErrorCode::corrupt_data, "{} has shape [{}] where [{}] is needed", name,
              fmt::join(view->shape, ", "), fmt::join(wanted, ", "));
}

bool is_dense_dtype(DType dtype) {
  return dense_format_of(dtype).has_value();
}

std::span<const std::string_view> scale_names() {
  return kScaleNames;
}

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
                                      const CodeMeaning& meaning) {
  const ModuleToRead module{tensors, rows, cols};
  TETRAD_ASSIGN(const std::optional<NamedTensor> weight, module.find_alias(kWeightNames));
  if (!weight) return module.unsupported("no tensor with the weight itself");
  const auto& [name, view] = *weight;
  const DType dtype = view->dtype;
  if (const auto format = dense_format_of(dtype); name == "weight" && format)
    return dense_matrix(module, *weight, *format);
  if (name == "weight" && dtype == DType::f8_e4m3) return fp8_matrix(module, *weight);
  // An expert that a quantizer protected (mxfp4_16 spec, section 2.1).
  if (name == "weight_fp16" && dtype == DType::f16) {
    return dense_matrix(module, *weight, WeightFormat::f16);
  }
  if (name == "weight_packed" && dtype == DType::i32) return integer_matrix(module, *weight);
  if (name != "weight_fp16" && dtype == DType::u8) return four_bit_matrix(module, *weight, meaning);
  return module.unsupported(
      fmt::format("a {} of dtype {} is no format known here", name, dtype_name(dtype)));
}

}  // namespace tetrad
