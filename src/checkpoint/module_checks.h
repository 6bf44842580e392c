#pragma once

// What the readers of the formats (module_*.cpp) ask of the tensors of a module.

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/module_tensors.h"

namespace tetrad {

using NamedTensor = ModuleTensors::value_type;

/// A module of [rows, cols] whose format is being found out.
struct ModuleToRead {
  const ModuleTensors& tensors;
  int64_t rows = 0;
  int64_t cols = 0;

  /// "<why>; the module has <its tensors>"
  tl::unexpected<Error> unsupported(const std::string& why) const;
  std::optional<NamedTensor> find(std::string_view name) const;
  /// The one tensor under any of the names, nothing when there is none. Two are refused: which one
  /// holds the weight cannot be known.
  Result<std::optional<NamedTensor>> find_alias(std::span<const std::string_view> names) const;
  /// Every tensor must have been understood: an unread zero point would be silent garbage.
  Result<void> check_all_used(std::span<const std::string_view> used) const;
};

Result<void> check_shape(const NamedTensor& tensor, std::initializer_list<int64_t> wanted);

/// F32, F16 or BF16.
bool is_dense_dtype(DType dtype);

/// mxfp4_16 spec, section 6, rule 3.
std::span<const std::string_view> scale_names();

// The readers. `weight` is the tensor with the codes.

/// U8: mxfp4_16 and its variants, MXFP4, NVFP4, by the dtype of the scales.
Result<WeightMatrix> four_bit_matrix(const ModuleToRead& module, const NamedTensor& packed,
                                     const CodeMeaning& meaning);
/// I32: compressed-tensors' pack-quantized.
Result<WeightMatrix> integer_matrix(const ModuleToRead& module, const NamedTensor& packed);
/// F8_E4M3, with a scale for the matrix, for each row or for each block.
Result<WeightMatrix> fp8_matrix(const ModuleToRead& module, const NamedTensor& weight);

}  // namespace tetrad
