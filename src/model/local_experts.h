#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "plan/rank_share.h"

namespace tetrad {

/// The experts of a layer where this rank has but some of them, whole.
class LocalExperts {
 public:
  /// out[t] = what Kernels::experts adds up, of the experts in `experts` alone. weights: of these.
  void run(Kernels& ops, Activations x, const ExpertWeights& weights, plan::Range experts,
           const Routing& routing, Activations out);

 private:
  void run_tokens(Kernels& ops, Activations x, const ExpertWeights& weights, plan::Range experts,
                  const Routing& routing, int64_t first, int64_t count, Activations out);

  // One row for each visit of a token to an expert that is here.
  std::vector<int64_t> token_of_visit_;
  std::vector<int32_t> expert_ids_;
  std::vector<float> weights_, inputs_, outputs_;
};

}  // namespace tetrad
