#pragma once

#include <string_view>

namespace tetrad::jinja {

/// The upper case of a character that becomes more than one, such as "SS" for ß; empty for others.
std::string_view expanded_upper(char32_t code_point);

}  // namespace tetrad::jinja
