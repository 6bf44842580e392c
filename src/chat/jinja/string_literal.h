#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace tetrad::jinja {

/// The text of a string literal without its quotes: \n, \x41, \u00e9, \101 and so on as in Python;
/// a backslash before anything else stays.
Result<std::string> unescape_string(std::string_view literal, int line);

}  // namespace tetrad::jinja
