#pragma once

// The alphabet in which byte-level vocabularies are written: every byte has one printable character
// (GPT-2's choice). Bytes that are printable Latin-1 stand for themselves, the other 68 are U+0100
// to U+0143 in order; so the space is written U+0120 and the newline U+010A.

#include <cstdint>
#include <string>
#include <string_view>

namespace tetrad {

/// The character of one byte, as UTF-8.
std::string_view alphabet_character(uint8_t byte);

/// Appends the bytes that `written` stands for. False, and nothing appended, when one of its
/// characters is not in the alphabet.
bool append_alphabet_bytes(std::string_view written, std::string& bytes);

}  // namespace tetrad
