#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/weight.h"

namespace tetrad {

/// The tensors "<module>.<suffix>" of one module, by suffix: {"weight_packed", "weight_scale"}.
/// Tensors of modules inside it ("<module>.<inner>.<suffix>") do not count.
using ModuleTensors = std::map<std::string_view, const TensorView*>;

ModuleTensors tensors_of_module(const TensorMap& tensors, std::string_view module);

/// "weight U8 [128, 192], weight_scale F16 [128, 24]": for error texts.
std::string describe(const ModuleTensors& tensors);

/// What tensors cannot say of 4-bit codes themselves.
struct CodeMeaning {
  Codebook codebook = kIq4NlCodebook;
  NibbleOrder nibble_order = NibbleOrder::low_first;
};

/// Decides the format of a module from its tensors (mxfp4_16 spec, section 6) and checks that they
/// hold a [rows, cols] matrix. A module whose format is not known, that has tensors of two formats,
/// or one tensor too many (a bias, a second scale) is refused with a list of what it has.
Result<WeightMatrix> weight_matrix_of(const ModuleTensors& tensors, int64_t rows, int64_t cols,
                                      const CodeMeaning& meaning);

}  // namespace tetrad
