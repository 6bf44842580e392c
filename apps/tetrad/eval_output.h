#pragma once

// A comparison of two models as a table for a person, and as JSON.

#include <string>

#include "base/json.h"
#include "quant/eval_report.h"

namespace tetrad {

void print_comparison(const EvalReport& report);

/// Texts go by the names of `report`, in "worst" too.
json::object comparison_to_json(const EvalReport& report);

}  // namespace tetrad
