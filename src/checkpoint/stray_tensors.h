#pragma once

#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace tetrad {

/// The tensors that belong to nothing known: no module or vector of the model, no
/// multi-token-prediction layer, no scale of the KV cache. In order of their names.
std::vector<std::string_view> stray_tensors(const Checkpoint& checkpoint);

/// Refuses a checkpoint with a stray tensor, and names it: a model that leaves weights unread,
/// because its config.json says fewer layers say, computes something else than what was trained.
Result<void> check_no_stray_tensors(const Checkpoint& checkpoint);

}  // namespace tetrad
