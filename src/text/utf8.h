#pragma once

// UTF-8 by the well-formedness table of the Unicode standard (table 3-7): no surrogates, no
// overlong forms, nothing above U+10FFFF.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tetrad {

/// Offset of the first byte that is not part of a well-formed character; none in valid text.
std::optional<size_t> find_invalid_utf8(std::string_view bytes);

/// Appends `bytes` to `text` up to a character that may still be completed by bytes to come, and
/// returns how many bytes it took (all but 0 to 3). Every maximal part of an ill-formed sequence
/// becomes one U+FFFD, as the Unicode standard recommends and Rust's and Python's lossy decoders
/// do.
size_t append_complete_utf8(std::string_view bytes, std::string& text);

/// The same when no more bytes will come: an unfinished character at the end becomes U+FFFD.
void append_lossy_utf8(std::string_view bytes, std::string& text);

/// Length of the run of Unicode white space at the start / at the end of well-formed text.
size_t leading_white_space(std::string_view text);
size_t trailing_white_space(std::string_view text);

}  // namespace tetrad
