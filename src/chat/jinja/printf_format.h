#pragma once

#include <string>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

/// `format % arguments`: a tuple gives one argument each, a dictionary the named ones, any other
/// value is the only argument.
Result<Value> format_printf(const String& format, const Value& arguments, Budget& budget);

}  // namespace tetrad::jinja
