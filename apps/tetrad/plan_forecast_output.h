#pragma once

// The part of a plan that compares layouts, as a table and as JSON.

#include <optional>
#include <string>

#include "base/json.h"
#include "plan/plan.h"

namespace tetrad::plan {

void print_layouts(const PlanRequest& request, const Plan& plan);

json::array layouts_to_json(const Plan& plan);

/// "1.234 ms", or "-" where no rate was given.
std::string time_text(const std::optional<double>& seconds);

json::value number_or_null(const std::optional<double>& number);

}  // namespace tetrad::plan
