#pragma once

// In which formats the parts of a model stand, and how many bits a weight they take.

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"

namespace tetrad {

struct ModelPart {
  std::string name;     // "experts"
  std::string formats;  // "mxfp4_16", or "bf16, mxfp4_16"
  int64_t parameters = 0;
  int64_t bytes = 0;  // scales included

  double bits_per_weight() const;
};

/// Embedding, attention, routers, experts, head and vectors in this order, then "all".
/// Reads no weights. Errors: what Checkpoint::matrix and Checkpoint::find say of a missing tensor.
Result<std::vector<ModelPart>> model_parts(const Checkpoint& checkpoint);

}  // namespace tetrad
