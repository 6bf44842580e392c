#include "plan/rank_share.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/integer_math.h"

namespace tetrad::plan {
namespace {

/// Of `length` cut into equal parts, part `index`.
Range equal_part(int64_t length, int64_t parts, int64_t index) {
  const int64_t part = length / parts;
  return {index * part, (index + 1) * part};
}

Range kv_heads_of(const ModelConfig& config, int64_t ranks, int64_t rank) {
  const int64_t kv_heads = config.num_key_value_heads;
  if (ranks <= kv_heads) return equal_part(kv_heads, ranks, rank);
  const int64_t copies = ranks / kv_heads;
  return {rank / copies, rank / copies + 1};
}

/// Sizes at which no rank lacks what it needs; a warning does not count.
std::vector<int64_t> possible_sizes(const PlannedModel& model, bool expert_parallel,
                                    int64_t limit) {
  std::vector<int64_t> sizes;
  for (int64_t ranks = 1; ranks <= limit; ++ranks) {
    const std::vector<Finding> findings = check_division(model, {ranks, expert_parallel});
    const auto is_error = [](const Finding& f) { return f.severity == Severity::error; };
    if (std::ranges::none_of(findings, is_error)) sizes.push_back(ranks);
  }
  return sizes;
}

}  // namespace

ModelConfig RankShare::local_config(const ModelConfig& config) const {
  ModelConfig local = config;
  local.num_attention_heads = heads.size();
  local.num_key_value_heads = kv_heads.size();
  return local;
}

RankShare rank_share(const ModelConfig& config, Layout layout, int64_t rank) {
  const int64_t ranks = layout.tensor_parallel;
  const int64_t tokens = ceil_div(config.vocab_size, ranks);
  const bool whole_experts = layout.expert_parallel;
  const Range all_experts{0, config.num_local_experts};
  const Range all_columns{0, config.intermediate_size};
  return {
      .layout = layout,
      .rank = rank,
      .heads = equal_part(config.num_attention_heads, ranks, rank),
      .kv_heads = kv_heads_of(config, ranks, rank),
      .counts_kv_heads =
          ranks <= config.num_key_value_heads || rank % (ranks / config.num_key_value_heads) == 0,
      .experts = whole_experts ? equal_part(config.num_local_experts, ranks, rank) : all_experts,
      .expert_columns =
          whole_experts ? all_columns : equal_part(config.intermediate_size, ranks, rank),
      .vocabulary = {std::min(config.vocab_size, rank * tokens),
                     std::min(config.vocab_size, (rank + 1) * tokens)}};
}

Result<void> check_layout(const PlannedModel& model, Layout layout) {
  if (layout.tensor_parallel < 1) {
    return fail_param("--tensor-parallel-size", "--tensor-parallel-size {}: there is no such size",
                      layout.tensor_parallel);
  }
  for (const Finding& finding : check_division(model, layout)) {
    if (finding.severity != Severity::error) continue;
    const int64_t limit = std::max<int64_t>(2 * layout.tensor_parallel, 16);
    return fail_param("--tensor-parallel-size", "--tensor-parallel-size {}: {}; possible are {}",
                      layout.tensor_parallel, finding.text,
                      fmt::join(possible_sizes(model, layout.expert_parallel, limit), ", "));
  }
  return {};
}

}  // namespace tetrad::plan
