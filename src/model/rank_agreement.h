#pragma once

#include <string>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "model/kv_cache_format.h"
#include "model/minimax_m2.h"
#include "parallel/communicator.h"
#include "plan/sharding.h"

namespace tetrad {

/// What one rank computes.
struct RankIdentity {
  const Checkpoint& checkpoint;
  const MiniMaxM2Weights& weights;  // of which the norms are compared
  plan::Layout layout;
  /// What decides the bits that kernels compute.
  std::string arithmetic;
  std::string transport;  // --transport of GPUs; "" without
  const KvCacheFormat& kv_cache;
};

/// Whether all ranks have the same program, checkpoint, layout and arithmetic: the config.json, the
/// name, type and shape of every tensor, and all norms and biases as they are; not the matrices,
/// which nobody could read in time. Made by all ranks at once. Errors: invalid_argument, with what
/// differs and where; the communicator's.
Result<void> agree_on_model(parallel::Communicator& ranks, const RankIdentity& mine);

}  // namespace tetrad
