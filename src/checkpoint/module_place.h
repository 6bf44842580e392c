#pragma once

// Where a file keeps the tensors of a module: under the model's own names, under other programs'
// names of an expert's projections, or in tensors that hold all experts of a layer.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/module_tensors.h"

namespace tetrad {

struct ModulePlace {
  /// The module of the file: "model.layers.0.block_sparse_moe.experts.gate_up_proj".
  std::string module;
  /// As stored; none: the file does not have the module. A tensor that is named as the module
  /// itself counts as its "weight".
  ModuleTensors tensors;

  // Of tensors that hold all experts: which of them is meant, and which half of its rows, 0 the
  // gate's or 1 those of "up", where both stand in one matrix.
  std::optional<int64_t> expert;
  std::optional<int64_t> half;
  bool is_bare = false;  // the one tensor is named as the module itself

  /// The full name of one of `tensors`.
  std::string tensor_name(std::string_view suffix) const;
};

/// Looks for "model.layers.0.block_sparse_moe.experts.7.w1" there, then for gate_proj (w2 is
/// down_proj, w3 is up_proj), then for all experts' w1 or gate_proj, then for w13 or gate_up_proj.
ModulePlace find_module(const TensorMap& tensors, std::string_view module);

/// Names the reason where a module is missing because its experts are in gpt-oss's order of bytes,
/// with gate and up interleaved.
Result<void> refuse_gpt_oss_experts(const TensorMap& tensors, std::string_view module);

/// The tensors of one expert out of those of all.
class ExpertSlices {
 public:
  /// `place` has an expert; `rows` are those of one projection. Errors name the tensor that does
  /// not hold one part for each expert or cannot be cut into gate and up.
  static Result<ExpertSlices> cut(const ModulePlace& place, int64_t num_experts, int64_t rows);

  const ModuleTensors& tensors() const { return tensors_; }

 private:
  std::vector<TensorView> views_;
  ModuleTensors tensors_;  // lead into views_
};

}  // namespace tetrad
