#pragma once

// A plan as tables for a person, and as JSON.

#include "base/json.h"
#include "plan/plan.h"

namespace tetrad::plan {

void print_plan(const PlannedModel& model, const PlanRequest& request, const Plan& plan);

json::object plan_to_json(const PlannedModel& model, const PlanRequest& request, const Plan& plan);

}  // namespace tetrad::plan
