#pragma once

// Numbers as Python reads and writes them.

#include <optional>
#include <string>
#include <string_view>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

/// Decimal digits with a sign if negative.
std::string int_text(Int value);

/// The absolute value in base 2, 8, 10 or 16, without a prefix.
std::string digits_in_base(Int value, int base, bool upper_case);

/// repr(float): the shortest digits that read back as the same number, "1.0", "1e+16", "inf".
std::string float_text(double value);

/// int(text, base), base 2 to 36 or 0 for a prefix that tells: blanks around, a sign and single
/// underscores between digits are allowed. Nothing if it is no integer or has over 127 bits.
std::optional<Int> parse_int(std::string_view text, int base);

/// float(text): as Python takes it, with "inf", "nan" and underscores.
std::optional<double> parse_float(std::string_view text);

/// A double cut to an integer; nothing for inf, nan and what does not fit.
std::optional<Int> truncate_to_int(double value);

}  // namespace tetrad::jinja
