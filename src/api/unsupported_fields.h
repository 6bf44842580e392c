#pragma once

#include "api/dialect.h"
#include "api/field_reader.h"

namespace tetrad::api {

/// Refuses the fields that the OpenAI API or vLLM understands and this server does not implement,
/// unless their value asks for nothing ("best_of": 1, "suffix": ""). Marks them, and those that may
/// be passed over without changing the answer, as known to `fields`. Returns the names of the
/// latter that are there, so that the log can tell.
Result<std::vector<std::string>> check_unsupported_fields(FieldReader& fields, Dialect dialect);

}  // namespace tetrad::api
