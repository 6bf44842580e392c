#pragma once

#include <cstddef>
#include <string_view>

#include "base/error.h"
#include "grammar/schema_limits.h"

namespace tetrad::grammar {

/// The work that one compilation may still do.
class SchemaBudget {
 public:
  SchemaBudget(const SchemaLimits& limits, std::string_view param)
      : limits_(limits), param_(param), steps_left_(limits.max_steps) {}

  const SchemaLimits& limits() const { return limits_; }
  std::string_view param() const { return param_; }

  size_t steps_left() const { return steps_left_; }

  Result<void> spend(size_t steps) {
    if (steps > steps_left_)
      return fail_param(param_,
                        "\"{}\" takes too much work to compile; make it smaller, with fewer "
                        "combinations of \"anyOf\" and \"allOf\" and shorter patterns",
                        param_);
    steps_left_ -= steps;
    return {};
  }

 private:
  SchemaLimits limits_;
  std::string_view param_;
  size_t steps_left_;
};

}  // namespace tetrad::grammar
