#pragma once

// What the steps of a model read and compute at least, to compare their speed with a machine's
// limits.

#include <cstdint>
#include <vector>

#include "kernels/batch.h"
#include "model/minimax_m2.h"

namespace tetrad {

/// Counted are
///  * bytes: every matrix of attention and every router once a step, and lm_head where there are
///    logits to compute; of a layer's experts those that some token of the step was routed to,
///    once; the embedding's rows of the tokens; all keys and values of a sequence once a step, its
///    new ones included. Norms, activations and what is written are not.
///  * operations: two for each multiply-add of these matrices with the tokens that go through them,
///    and of queries with keys and of weights with values, those that causality masks left out.
struct StepCost {
  int64_t bytes = 0;
  int64_t operations = 0;
};

/// Adds up the steps that it is told of.
class StepCostCounter {
 public:
  /// `model` outlives it.
  StepCostCounter(const MiniMaxM2& model, DType kv_dtype);
  StepCostCounter(const StepCostCounter&) = delete;
  StepCostCounter& operator=(const StepCostCounter&) = delete;

  /// For MiniMaxM2::forward(): counts the experts that the router chooses.
  const Observer* observer() const { return &observer_; }
  /// Counts all but the experts of a step.
  void add(const Batch& batch);

  const StepCost& total() const { return total_; }

 private:
  void add_matrix(const WeightMatrix& matrix, int64_t num_tokens);
  void add_attention(const SequenceSlice& sequence);
  void add_experts(const MiniMaxM2Layer& layer, Activations expert_ids);

  const MiniMaxM2* model_;
  DType kv_dtype_;
  Observer observer_;
  std::vector<bool> visited_;  // experts of one layer in one step
  StepCost total_;
};

}  // namespace tetrad
