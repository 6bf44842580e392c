#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <utility>

#include "base/error.h"
#include "model/minimax_m2.h"
#include "plan/rank_share.h"

namespace tetrad {

/// Sees the bytes of matrices that were copied from and are not needed any more.
using DoneReading = std::function<void(std::span<const std::byte>)>;

/// Cuts what one rank computes with out of the whole model's weights, piece by piece: views into
/// their memory, which must outlive it, and copies of the columns of o_proj and, where experts are
/// cut, of w2. Of the rest of the whole nothing is read. Errors name the module: formats that
/// cannot be cut (slice_rows, slice_columns).
class WeightShare {
 public:
  /// All must outlive it.
  WeightShare(const MiniMaxM2Weights& whole, const ModelConfig& config,
              const plan::RankShare& share, DoneReading done_reading = {})
      : whole_(whole), config_(config), share_(share), done_reading_(std::move(done_reading)) {}

  const MiniMaxM2Weights& whole() const { return whole_; }
  // What is copied is in `memory`.
  Result<WeightMatrix> embed_tokens(SliceMemory& memory) const;
  Result<WeightMatrix> lm_head(SliceMemory& memory) const;
  Result<MiniMaxM2Layer> layer(size_t index, SliceMemory& memory) const;
  /// Of all matrices, as they are packed; of formats whose bytes divide as their elements do.
  int64_t total_bytes() const;

 private:
  const MiniMaxM2Weights& whole_;
  const ModelConfig& config_;
  const plan::RankShare& share_;
  DoneReading done_reading_;
};

/// All of it.
Result<MiniMaxM2Weights> share_weights(const MiniMaxM2Weights& whole, const ModelConfig& config,
                                       const plan::RankShare& share,
                                       const DoneReading& done_reading = {});

}  // namespace tetrad
