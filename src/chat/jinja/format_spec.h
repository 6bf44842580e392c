#pragma once

// Python's format specifications ("{:>8.2f}") and what "%" formatting shares with them.

#include <string>
#include <string_view>

#include "chat/jinja/value.h"

namespace tetrad::jinja {

struct FormatSpec {
  char32_t fill = U' ';
  char align = 0;   // < > ^ =, 0: by type
  char sign = '-';  // - + or blank
  bool alternate = false;
  int64_t width = 0;
  char grouping = 0;   // , _ or 0
  int precision = -1;  // -1: not given
  char type = 0;       // 0: not given
};

/// Width and precision beyond this are refused as too large.
inline constexpr int64_t kMaxFormatWidth = 1'000'000;
inline constexpr int64_t kMaxFloatPrecision = 1'000;

Result<FormatSpec> parse_format_spec(std::string_view text);

/// format(value, spec).
Result<std::string> format_value(const Value& value, const FormatSpec& spec, Budget& budget);

/// An integer with the sign, base, prefix, grouping and padding of the specification.
Result<std::string> format_integer(Int value, const FormatSpec& spec, Budget& budget);

/// A float; types e f g % and their capitals, none: as short as possible.
Result<std::string> format_float(double value, const FormatSpec& spec, Budget& budget);

/// Text cut to the precision and padded to the width.
Result<std::string> format_string(std::string_view text, const FormatSpec& spec, Budget& budget);

}  // namespace tetrad::jinja
