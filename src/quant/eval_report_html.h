#pragma once

// Text and numbers as they stand in an HTML page.

#include <cstdint>
#include <string>
#include <string_view>

namespace tetrad {

/// `text` (UTF-8) as the content of an element or of a quoted attribute. Control characters but
/// tab and line feed, which HTML forbids, become U+FFFD.
std::string html_text(std::string_view text);

/// The same with white space shown: a line feed as "↵" and a tab as "⇥", for tokens out of their
/// text.
std::string html_token(std::string_view text);

/// Four significant digits, without an exponent from 0.0001 on: "0.03464", "1.2e-07".
std::string short_number(double value);

/// A share as "97.53 %".
std::string percent_text(double share);

}  // namespace tetrad
