#pragma once

// The ranks that compute one model, as its forward pass sees them. What differs between one rank
// and many stands here; a rank alone asks nobody and computes with the operations as they are.

#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "kernels/kernels.h"
#include "kernels/likely_token.h"
#include "model/local_experts.h"
#include "parallel/communicator.h"
#include "plan/rank_share.h"

namespace tetrad {

class RankGroup {
 public:
  /// One rank that has the whole model.
  explicit RankGroup(const ModelConfig& config);
  /// One of those which `ranks` connects; of one it is as if it were alone. Errors: the layout is
  /// of another number of ranks.
  static Result<RankGroup> join(const ModelConfig& config, plan::Layout layout,
                                std::shared_ptr<parallel::Communicator> ranks);

  const plan::RankShare& share() const { return share_; }
  bool is_alone() const { return ranks_ == nullptr; }

  /// out[t] = embedding of token_ids[t].  table: the rows of share().vocabulary
  Result<void> embed(Kernels& ops, const WeightMatrix& table, std::span<const int32_t> token_ids,
                     Activations out);

  /// RMSNorm of q and k in place, each with one mean over the heads of all ranks.
  /// q, k: [T, this rank's heads * head_dim], q_norm, k_norm: these heads' weights
  Result<void> qk_norm(Kernels& ops, Activations q, std::span<const float> q_norm, Activations k,
                       std::span<const float> k_norm, float eps);

  /// This rank's part of the experts' sum.
  void experts(Kernels& ops, Activations x, const ExpertWeights& weights, const Routing& routing,
               Activations out);

  /// x = the sum of all ranks' x, with the same bits on each.
  Result<void> sum(Activations x);

  /// The logits of the whole vocabulary. part: [rows, share().vocabulary]
  Result<Activations> gather_logits(Activations part);

  /// The `count` likeliest tokens of each row, the likeliest first, the lower id first among
  /// equals: each rank tells but its own. A logit that is no number counts as the largest. Valid
  /// until the next call.  part: [rows, share().vocabulary], result: [rows, min(count, vocab_size)]
  Result<std::span<const LikelyToken>> gather_top(Activations part, int64_t count);

 private:
  RankGroup(const ModelConfig& config, const plan::RankShare& share,
            std::shared_ptr<parallel::Communicator> ranks);

  std::shared_ptr<parallel::Communicator> ranks_;  // null: alone
  plan::RankShare share_;
  int64_t q_size_;  // of all ranks
  int64_t kv_size_;
  int64_t vocab_size_;
  LocalExperts local_experts_;
  std::vector<float> squares_;  // [T, 2]: of q, of k
  std::vector<int32_t> local_ids_;
  std::vector<float> sent_, received_, logits_;
  std::vector<LikelyToken> sent_tokens_, received_tokens_, top_;
};

}  // namespace tetrad
