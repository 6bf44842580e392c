#include "model/local_experts.h"

#include <algorithm>
#include <cstring>

#include "parallel/rank_order_sum.h"

namespace tetrad {
namespace {

/// Tokens whose visits are copied together: as many as use each weight many times and keep the
/// copies small.
constexpr int64_t kLocalExpertTokens = 512;

Activations visits_in(std::vector<float>& memory, int64_t rows, int64_t cols) {
  const auto needed = static_cast<size_t>(rows * cols);
  if (memory.size() < needed) memory.resize(needed);
  return {memory.data(), rows, cols};
}

}  // namespace

void LocalExperts::run(Kernels& ops, Activations x, const ExpertWeights& weights,
                       plan::Range experts, const Routing& routing, Activations out) {
  for (int64_t first = 0; first < x.rows; first += kLocalExpertTokens) {
    const int64_t count = std::min(kLocalExpertTokens, x.rows - first);
    run_tokens(ops, x, weights, experts, routing, first, count, out);
  }
}

/// Each visit becomes a row of its own that goes to one expert: the operation knows of no experts
/// that are elsewhere.
void LocalExperts::run_tokens(Kernels& ops, Activations x, const ExpertWeights& weights,
                              plan::Range experts, const Routing& routing, int64_t first,
                              int64_t count, Activations out) {
  token_of_visit_.clear();
  expert_ids_.clear();
  weights_.clear();
  const int64_t top_k = routing.num_experts_per_tok;
  for (int64_t choice = first * top_k; choice < (first + count) * top_k; ++choice) {
    const int64_t expert = routing.expert_ids[static_cast<size_t>(choice)];
    if (!experts.contains(expert)) continue;
    token_of_visit_.push_back(choice / top_k);
    expert_ids_.push_back(static_cast<int32_t>(expert - experts.begin));
    weights_.push_back(routing.weights[static_cast<size_t>(choice)]);
  }
  for (int64_t token = first; token < first + count; ++token)
    std::ranges::fill(out.row_span(token), 0.0f);
  if (token_of_visit_.empty()) return;

  const auto num_visits = static_cast<int64_t>(token_of_visit_.size());
  const Activations inputs = visits_in(inputs_, num_visits, x.cols);
  const Activations outputs = visits_in(outputs_, num_visits, out.cols);
  for (int64_t visit = 0; visit < num_visits; ++visit)
    std::ranges::copy(x.row_span(token_of_visit_[static_cast<size_t>(visit)]), inputs.row(visit));
  ops.experts(inputs, weights,
              {.expert_ids = expert_ids_, .weights = weights_, .num_experts_per_tok = 1}, outputs);
  // In the order of the routing, as the operation adds.
  for (int64_t visit = 0; visit < num_visits; ++visit)
    parallel::add_part(out.row_span(token_of_visit_[static_cast<size_t>(visit)]),
                       outputs.row(visit));
}

}  // namespace tetrad
