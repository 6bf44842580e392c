#pragma once

#include <string>

#include "base/json.h"

namespace tetrad {

/// JSON text for files that people read: two blanks of indentation, lists without objects or lists
/// in them on one line, numbers as Python writes them, a newline at the end.
std::string to_pretty_json(const json::value& value);

}  // namespace tetrad
