#include "plan/collectives.h"

#include "base/integer_math.h"

namespace tetrad::plan {
namespace {

constexpr int64_t kFloatBytes = sizeof(float);
constexpr int64_t kSquareSums = 2;  // of queries and of keys

Collective sum(CollectiveKind kind, int64_t count, int64_t floats, double ranks) {
  const int64_t bytes = floats * kFloatBytes;
  return {kind, count, bytes, 2 * (ranks - 1) / ranks * static_cast<double>(bytes)};
}

Collective gathering(CollectiveKind kind, int64_t floats, double ranks) {
  const int64_t bytes = floats * kFloatBytes;
  return {kind, 1, bytes, (ranks - 1) / ranks * static_cast<double>(bytes)};
}

}  // namespace

std::string_view collective_kind_name(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::embedding:
      return "embedding";
    case CollectiveKind::qk_norm:
      return "qk_norm";
    case CollectiveKind::attention_output:
      return "attention_output";
    case CollectiveKind::experts_output:
      return "experts_output";
    case CollectiveKind::logits:
      return "logits";
  }
  return "";
}

std::vector<Collective> step_collectives(const ModelConfig& config, Layout layout, StepShape step) {
  if (layout.tensor_parallel == 1) return {};
  const auto ranks = static_cast<double>(layout.tensor_parallel);
  const int64_t layers = config.num_hidden_layers;
  const int64_t hidden = step.tokens * config.hidden_size;
  // Every rank brings as many logits, though the last may have fewer tokens.
  const int64_t vocabulary =
      ceil_div(config.vocab_size, layout.tensor_parallel) * layout.tensor_parallel;
  return {sum(CollectiveKind::embedding, 1, hidden, ranks),
          sum(CollectiveKind::qk_norm, layers, step.tokens * kSquareSums, ranks),
          sum(CollectiveKind::attention_output, layers, hidden, ranks),
          sum(CollectiveKind::experts_output, layers, hidden, ranks),
          gathering(CollectiveKind::logits, step.logit_rows * vocabulary, ranks)};
}

CollectiveTotals collective_totals(std::span<const Collective> collectives,
                                   const Interconnect& link) {
  CollectiveTotals totals{.seconds = 0.0};
  for (const Collective& collective : collectives) {
    const auto count = static_cast<double>(collective.count);
    totals.count += collective.count;
    totals.bytes_sent += count * collective.bytes_sent;
    const auto each = link.seconds(collective.bytes_sent);
    if (totals.seconds && each) {
      *totals.seconds += count * *each;
    } else {
      totals.seconds.reset();
    }
  }
  return totals;
}

}  // namespace tetrad::plan
