#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "base/error.h"
#include "model/minimax_m2.h"
#include "plan/rank_share.h"

namespace tetrad {

/// Sees the bytes of matrices that were copied from and are not needed any more.
using DoneReading = std::function<void(std::span<const std::byte>)>;

/// What one rank computes with: views into the whole model's memory, which must outlive it, and
/// copies of the columns of o_proj and, where experts are cut, of w2. Of the rest of the whole
/// nothing is read. Errors name the module: formats that cannot be cut (slice_rows,
/// slice_columns).
Result<MiniMaxM2Weights> share_weights(const MiniMaxM2Weights& whole, const ModelConfig& config,
                                       const plan::RankShare& share,
                                       const DoneReading& done_reading = {});

}  // namespace tetrad
