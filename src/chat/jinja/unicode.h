#pragma once

// Characters as Python's str methods see them: code points with their Unicode categories and case
// mappings. All text here is well-formed UTF-8 (checked where it comes in); on anything else the
// functions stay inside their buffer.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tetrad::jinja {

int64_t count_code_points(std::string_view text);

/// The code point at `position`, which is moved behind it. `position` must be inside the text.
char32_t decode_code_point(std::string_view text, size_t& position);

void append_code_point(std::string& out, char32_t code_point);

/// Byte offset of the code point with this index; the size of the text for an index at its end.
size_t byte_offset(std::string_view text, int64_t index);

// str.isalpha(), .isdigit() and so on of one character.
bool is_space(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_alnum(char32_t c);
bool is_printable(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_title(char32_t c);
/// Has upper and lower case forms, or is one.
bool is_cased(char32_t c);

// Full case mappings (ß becomes SS, a final Σ becomes ς). Title case of nine letters of ancient
// Greek with an iota below is their simple mapping.
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
/// str.capitalize(): the first character in title case, all others lower.
std::string to_capitalized(std::string_view text);
/// str.title(): the first letter of each run of letters in title case, all others lower.
std::string to_title(std::string_view text);
std::string to_swapped_case(std::string_view text);

}  // namespace tetrad::jinja
