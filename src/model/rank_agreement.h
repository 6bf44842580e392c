#pragma once

#include <string_view>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "model/kv_cache_format.h"
#include "model/minimax_m2.h"
#include "parallel/communicator.h"

namespace tetrad {

/// Whether all ranks have the same program, checkpoint, layout and arithmetic: the config.json, the
/// name, type and shape of every tensor, and all norms and biases as they are; not the matrices,
/// which nobody could read in time. arithmetic: what decides the bits that kernels compute, which
/// their number of threads does not: the name of such kernels with one. Made by all ranks at once.
/// Errors: invalid_argument, with what differs and where; the communicator's.
Result<void> agree_on_model(parallel::Communicator& ranks, const Checkpoint& checkpoint,
                            const MiniMaxM2& model, std::string_view arithmetic,
                            const KvCacheFormat& kv_cache);

}  // namespace tetrad
