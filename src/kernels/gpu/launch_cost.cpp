#include "kernels/gpu/launch_cost.h"

#include <cmath>

namespace tetrad::gpu {
namespace {

constexpr double kFloatBytes = 4;
constexpr double kHalfBytes = 2;

double bytes_of(const PackedMatrix& matrix) {
  return static_cast<double>(packed_bytes(matrix.format, matrix.rows, matrix.cols));
}

/// Of a product with `vectors` columns of x.
double product_operations(const PackedMatrix& matrix, double vectors) {
  return 2.0 * matrix.rows * matrix.cols * vectors;
}

/// How many of the experts here some pair goes to, when each token picks `per_token` by chance.
double experts_met(double num_pairs, ExpertCount experts, double per_token) {
  return experts.here * (1 - std::pow(1 - per_token / experts.all, num_pairs / per_token));
}

double part_here(ExpertCount experts) {
  return static_cast<double>(experts.here) / experts.all;
}

}  // namespace

LaunchCost launch_cost(const EmbedArgs& args, uint32_t num_tokens) {
  return {.bytes = kHalfBytes * args.hidden_size * num_tokens};
}

LaunchCost launch_cost(const NormRowsArgs& args, uint32_t num_tokens) {
  return {.bytes = kFloatBytes * args.cols * (num_tokens + 1.0)};
}

LaunchCost launch_cost(const GatherRowsArgs& args, uint32_t num_rows) {
  return {.bytes = kFloatBytes * args.cols * num_rows};
}

LaunchCost launch_cost(const QkNormRopeArgs& args, uint32_t num_tokens) {
  return {.bytes = kFloatBytes * num_tokens *
                   (static_cast<double>(args.q_size) + 2.0 * args.kv_size + args.rotary_dim)};
}

LaunchCost launch_cost(const QkSquaresArgs& args, uint32_t num_tokens) {
  return {.bytes = kFloatBytes * (args.q_size + args.kv_size) / kSquareColumns * num_tokens};
}

LaunchCost launch_cost(const SquareSumsArgs& args, uint32_t num_tokens) {
  return {.bytes = kFloatBytes * args.cols * num_tokens};
}

LaunchCost launch_cost(const AttentionArgs& args, uint32_t head_dim, const AttentionWork& work) {
  const double kv_size = static_cast<double>(args.num_kv_heads) * head_dim;
  return {.bytes = 2 * kv_size * work.keys, .operations = 4 * args.group * kv_size * work.pairs};
}

LaunchCost launch_cost(const DecodeAttentionArgs& args, uint32_t head_dim,
                       const AttentionWork& work) {
  return launch_cost(args.attention, head_dim, work);
}

LaunchCost launch_cost(const MergeGroupsArgs& args, uint32_t head_dim, const AttentionWork& work) {
  const AttentionArgs& of = args.attention;
  return {.bytes = kFloatBytes * of.num_kv_heads * of.group * head_dim * work.keys / kGroupKeys};
}

LaunchCost launch_cost(const RouteArgs& args) {
  const double router = static_cast<double>(args.choice.num_experts) * args.hidden_size;
  const double num_tokens = args.choice.num_tokens;
  return {.bytes = kFloatBytes * (router + num_tokens * args.hidden_size),
          .operations = 2 * router * num_tokens};
}

LaunchCost launch_cost(const RouteManyArgs& args, RouteLaunch which) {
  if (which == RouteLaunch::logits) return launch_cost(args.route);
  const ExpertChoice& choice = args.route.choice;
  if (which == RouteLaunch::choice)
    return {.bytes = kFloatBytes * choice.num_experts * (choice.num_tokens + 1.0)};
  return {.bytes = kFloatBytes * args.route.hidden_size * (choice.num_tokens + 1.0)};
}

LaunchCost launch_cost(const GroupByExpertArgs& args) {
  return {.bytes = kFloatBytes * args.num_pairs};
}

LaunchCost launch_cost(const CombineExpertsArgs& args, uint32_t num_tokens) {
  return {.bytes = kFloatBytes * args.hidden_size * num_tokens * (args.num_experts_per_tok + 1.0)};
}

LaunchCost launch_cost(const DecodeProductArgs& args) {
  const double of_x = args.norm_weight != nullptr ? 2 * kFloatBytes : kHalfBytes;
  return {.bytes = bytes_of(args.weight) +
                   args.num_tokens * (of_x * args.weight.cols +
                                      (args.add != 0 ? kFloatBytes * args.weight.rows : 0)),
          .operations = product_operations(args.weight, args.num_tokens)};
}

LaunchCost launch_cost(const GemmArgs& args) {
  return {.bytes = bytes_of(args.weight) +
                   args.num_tokens * (kHalfBytes * args.weight.cols +
                                      (args.add != 0 ? kFloatBytes * args.weight.rows : 0)),
          .operations = product_operations(args.weight, args.num_tokens)};
}

LaunchCost launch_cost(const AddSegmentsArgs& args) {
  const double added = args.add != 0 ? 1 : 0;
  return {.bytes = kFloatBytes * args.num_tokens * args.rows * (args.num_segments + added)};
}

LaunchCost launch_cost(const ExpertsUpArgs& args, ExpertCount experts) {
  const uint32_t per_token = args.choice.num_experts_per_tok;
  const double pairs = static_cast<double>(args.choice.num_tokens) * per_token;
  return {
      .bytes = experts_met(pairs, experts, per_token) * (bytes_of(args.w1) + bytes_of(args.w3)) +
               kHalfBytes * args.w1.cols * args.choice.num_tokens,
      .operations = 2 * product_operations(args.w1, pairs * part_here(experts))};
}

LaunchCost launch_cost(const ExpertsDownArgs& args, ExpertCount experts) {
  const double pairs = static_cast<double>(args.num_tokens) * args.num_experts_per_tok;
  // The last block for some rows reads the products of all picks again, and the residual.
  const double products = args.num_tokens == 1 ? 0 : pairs;
  return {.bytes = experts_met(pairs, experts, args.num_experts_per_tok) * bytes_of(args.w2) +
                   kHalfBytes * args.w2.cols * pairs * part_here(experts) +
                   kFloatBytes * args.w2.rows * (products + args.num_tokens),
          .operations = product_operations(args.w2, pairs * part_here(experts))};
}

/// Of w1, w3 and w2 in one launch.
template <class Args>
static LaunchCost cost_of_experts(const Args& args, ExpertCount experts) {
  const uint32_t per_token = args.choice.num_experts_per_tok;
  const double pairs = static_cast<double>(args.choice.num_tokens) * per_token;
  const double pairs_here = pairs * part_here(experts);
  return {.bytes = experts_met(pairs, experts, per_token) *
                       (bytes_of(args.w1) + bytes_of(args.w3) + bytes_of(args.w2)) +
                   kHalfBytes * (args.w1.cols * args.choice.num_tokens + args.w2.cols * pairs_here),
          .operations = 2 * product_operations(args.w1, pairs_here) +
                        product_operations(args.w2, pairs_here)};
}

LaunchCost launch_cost(const ExpertsOfOneArgs& args, ExpertCount experts) {
  LaunchCost cost = cost_of_experts(args, experts);
  cost.bytes += kFloatBytes * args.w2.rows;  // the residual
  return cost;
}

LaunchCost launch_cost(const ExpertsStreamArgs& args, ExpertCount experts) {
  return cost_of_experts(args, experts);
}

LaunchCost launch_cost(const ExpertsUpGemmArgs& args, uint32_t num_pairs, ExpertCount experts) {
  return {.bytes = experts_met(num_pairs, experts, args.num_experts_per_tok) *
                       (bytes_of(args.w1) + bytes_of(args.w3)) +
                   kHalfBytes * args.w1.cols * num_pairs / args.num_experts_per_tok,
          .operations = 2 * product_operations(args.w1, num_pairs * part_here(experts))};
}

LaunchCost launch_cost(const ExpertsDownGemmArgs& args, uint32_t num_pairs, ExpertCount experts) {
  return {.bytes = experts_met(num_pairs, experts, 1) * bytes_of(args.w2) +
                   kHalfBytes * args.w2.cols * num_pairs * part_here(experts),
          .operations = product_operations(args.w2, num_pairs * part_here(experts))};
}

LaunchCost launch_cost(const SummarizeLogitsArgs& args, uint32_t num_rows) {
  return {.bytes = kFloatBytes * args.vocab_size * num_rows};
}

LaunchCost launch_cost(const AllReduceArgs& args) {
  return {.bytes = 4.0 * args.count * args.exchange.num_ranks};
}

LaunchCost launch_cost(const AllReduceSquaresArgs& args) {
  LaunchCost cost = launch_cost(args.squares, args.num_tokens);
  cost.bytes += 8.0 * args.num_tokens * args.exchange.num_ranks;
  return cost;
}

LaunchCost launch_cost(const AllGatherArgs& args) {
  return {.bytes = 16.0 * args.num_groups * args.exchange.num_ranks};
}

}  // namespace tetrad::gpu
