#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace tetrad {

/// A function that the model may call.
struct ToolDefinition {
  std::string name;
  /// The JSON Schema of its arguments; empty: anything.
  json::object parameters;
  /// The arguments must satisfy the schema, by force.
  bool strict = false;
  /// How the request calls `parameters`, for errors.
  std::string param;
};

/// The tools of one request, shared by all that look at its answers.
using ToolDefinitions = std::shared_ptr<const std::vector<ToolDefinition>>;

}  // namespace tetrad
