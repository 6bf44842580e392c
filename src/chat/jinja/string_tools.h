#pragma once

// What the string methods and the filters of the same names share.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja/budget.h"

namespace tetrad::jinja {

enum class Side : uint8_t { both, left, right };

/// Without the characters of `set` (nothing: white space) at its ends.
std::string_view strip(std::string_view text, std::optional<std::string_view> set, Side side);

/// Lines without their ends (with them, if `keep_ends`), at every line break Unicode knows.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);

/// Parts between white space; at most `max_splits` cuts, counted from the left or the right.
std::vector<std::string_view> split_space(std::string_view text, size_t max_splits, Side from);

/// Parts between occurrences of a separator, which is not empty.
std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       size_t max_splits, Side from);

/// The first `count` occurrences of `old` replaced; an empty `old` stands before every character
/// and at the end. The size of the result is paid for before it is made.
Result<std::string> replace_all(std::string_view text, std::string_view old_text,
                                std::string_view new_text, size_t count, Budget& budget);

/// Occurrences without overlap.
size_t count_occurrences(std::string_view text, std::string_view part, size_t at_most);

/// `count` copies of `unit`, paid for.
Result<std::string> repeated(std::string_view unit, int64_t count, Budget& budget);

}  // namespace tetrad::jinja
