#pragma once

#include <string_view>

#include "chat/jinja/object.h"

namespace tetrad::jinja {

/// The function behind `is name`, or null.
Function find_test(std::string_view name);

}  // namespace tetrad::jinja
