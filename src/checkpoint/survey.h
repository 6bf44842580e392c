#pragma once

// What a checkpoint consists of and what is wrong with it: the content of `tetrad inspect`.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace tetrad {

struct SizeTotals {
  int64_t count = 0;  // matrices, each with its scales, or single tensors
  int64_t parameters = 0;
  int64_t bytes = 0;  // scales included

  double bits_per_weight() const;
};

struct ScaleStatistics {
  int64_t count = 0;
  int64_t negative = 0;
  int64_t subnormal = 0;  // of the scale's own dtype
  int64_t zero = 0;
  int64_t not_finite = 0;
};

enum class Severity : uint8_t {
  error,    // the checkpoint cannot be used
  warning,  // it can, but something in it is not what it should be
};

/// "error" or "warning".
std::string_view severity_name(Severity severity);

struct Finding {
  Severity severity = Severity::error;
  std::string text;
};

struct Survey {
  std::map<WeightFormat, SizeTotals> matrices;
  SizeTotals vectors;
  SizeTotals total;
  /// Of the formats that have scales.
  std::map<WeightFormat, ScaleStatistics> scales;

  int64_t layers_with_k_scale = 0;
  int64_t layers_with_v_scale = 0;
  SizeTotals skipped_mtp;
  std::vector<std::string> extra_tensors;  // belong to nothing known

  /// At most kMaxFindings; the counts go on.
  static constexpr size_t kMaxFindings = 1000;
  std::vector<Finding> findings;
  int64_t num_errors = 0;
  int64_t num_warnings = 0;
};

/// Looks up every tensor of the model and reads every scale (the scales of a 229 G parameter
/// checkpoint are 29 GB; the weights themselves are not read).
Survey survey(const Checkpoint& checkpoint);

}  // namespace tetrad
