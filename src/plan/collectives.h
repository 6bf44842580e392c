#pragma once

// What the ranks of a layout tell each other in one step of this program (docs/parallel.md).

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "plan/interconnect.h"
#include "plan/sharding.h"

namespace tetrad::plan {

enum class CollectiveKind : uint8_t {
  embedding,         // sum of [tokens, hidden]
  qk_norm,           // sum of [tokens, 2], each layer
  attention_output,  // sum of [tokens, hidden], each layer
  experts_output,    // sum of [tokens, hidden], each layer
  logits,            // gathering of [rows, vocabulary]
};

std::string_view collective_kind_name(CollectiveKind kind);

/// Equal messages of one step.
struct Collective {
  CollectiveKind kind = CollectiveKind::embedding;
  int64_t count = 0;
  int64_t bytes = 0;      // of one, as every rank has it afterwards: float32
  double bytes_sent = 0;  // by each rank for one, at least: 2 (n - 1) / n of a sum, (n - 1) / n of
                          // a gathering by n ranks
};

struct StepShape {
  int64_t tokens = 1;
  int64_t logit_rows = 1;  // tokens whose logits are wanted
};

/// None for one rank.
std::vector<Collective> step_collectives(const ModelConfig& config, Layout layout, StepShape step);

/// Of all messages of a step, one after the other.
struct CollectiveTotals {
  int64_t count = 0;
  double bytes_sent = 0;          // by each rank
  std::optional<double> seconds;  // absent where the connection is not known; 0 for one rank
};

CollectiveTotals collective_totals(std::span<const Collective> collectives,
                                   const Interconnect& link);

}  // namespace tetrad::plan
