#pragma once

// What a launch reads and computes at least, from its arguments: what a profile holds its time
// against.

#include "kernels/gpu/kernel_list.h"

namespace tetrad::gpu {

struct LaunchCost {
  /// Read: each operand once, be it from memory or a cache. What is written is not counted.
  double bytes = 0;
  /// Of products: two for each multiply-add. Norms, softmax and the like are not counted.
  double operations = 0;

  bool operator==(const LaunchCost&) const = default;
};

/// What attention's arguments do not tell, as it stands on the device: of all sequences of a
/// launch.
struct AttentionWork {
  double keys = 0;   // in the cache, the step's own among them
  double pairs = 0;  // of a query's token and a key that it sees
};

/// Experts of a layer, and how many of them this rank has; of pairs it has as large a part.
struct ExpertCount {
  // NOLINTNEXTLINE(google-explicit-constructor): all are here
  ExpertCount(uint32_t num_experts) : all(num_experts), here(num_experts) {}
  ExpertCount(uint32_t num_experts, uint32_t num_here) : all(num_experts), here(num_here) {}

  uint32_t all;
  uint32_t here;
};

// num_tokens and num_rows: those of the launch.
LaunchCost launch_cost(const EmbedArgs& args, uint32_t num_tokens);
LaunchCost launch_cost(const NormRowsArgs& args, uint32_t num_tokens);
LaunchCost launch_cost(const GatherRowsArgs& args, uint32_t num_rows);
LaunchCost launch_cost(const QkNormRopeArgs& args, uint32_t num_tokens);
LaunchCost launch_cost(const SquareSumsArgs& args, uint32_t num_tokens);
LaunchCost launch_cost(const QkSquaresArgs& args, uint32_t num_tokens);
LaunchCost launch_cost(const AttentionArgs& args, uint32_t head_dim, const AttentionWork& work);
LaunchCost launch_cost(const DecodeAttentionArgs& args, uint32_t head_dim,
                       const AttentionWork& work);
LaunchCost launch_cost(const MergeGroupsArgs& args, uint32_t head_dim, const AttentionWork& work);
LaunchCost launch_cost(const RouteArgs& args);
/// Of the router for many tokens: route_norm, route_many, choose_many.
enum class RouteLaunch { norm, logits, choice };
LaunchCost launch_cost(const RouteManyArgs& args, RouteLaunch which);
LaunchCost launch_cost(const GroupByExpertArgs& args);
LaunchCost launch_cost(const CombineExpertsArgs& args, uint32_t num_tokens);
LaunchCost launch_cost(const DecodeProductArgs& args);
LaunchCost launch_cost(const GemmArgs& args);
LaunchCost launch_cost(const AddSegmentsArgs& args);
// Of experts that several tokens go to, as many as random choices meet.
LaunchCost launch_cost(const ExpertsUpArgs& args, ExpertCount experts);
LaunchCost launch_cost(const ExpertsDownArgs& args, ExpertCount experts);
LaunchCost launch_cost(const ExpertsOfOneArgs& args, ExpertCount experts);
LaunchCost launch_cost(const ExpertsStreamArgs& args, ExpertCount experts);
LaunchCost launch_cost(const ExpertsUpGemmArgs& args, uint32_t num_pairs, ExpertCount experts);
LaunchCost launch_cost(const ExpertsDownGemmArgs& args, uint32_t num_pairs, ExpertCount experts);
LaunchCost launch_cost(const SummarizeLogitsArgs& args, uint32_t num_rows);
// Between ranks: what all of them bring, once.
LaunchCost launch_cost(const AllReduceArgs& args);
LaunchCost launch_cost(const AllReduceSquaresArgs& args);
LaunchCost launch_cost(const AllGatherArgs& args);
// What is no part of a step counts nothing. A kernel without an overload here does not compile.
inline LaunchCost launch_cost(const PackCodesArgs&) {
  return {};
}
inline LaunchCost launch_cost(const PackHalvesArgs&) {
  return {};
}
inline LaunchCost launch_cost(const RandomTilesArgs&) {
  return {};
}
inline LaunchCost launch_cost(const RandomEmbeddingsArgs&) {
  return {};
}
inline LaunchCost launch_cost(const ReadAllArgs&) {
  return {};
}
inline LaunchCost launch_cost(const MultiplyAddArgs&) {
  return {};
}

}  // namespace tetrad::gpu
