#pragma once

#include <vector>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace tetrad {

/// All elements of an F32, F16 or BF16 tensor in order, whatever its shape; for small tensors.
Result<std::vector<float>> dense_values(const TensorView& tensor);

}  // namespace tetrad
