#include "text/utf8.h"

#include <cstdint>

namespace tetrad {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

enum class Form { whole, broken, unfinished };

struct Sequence {
  size_t length;  // of the character, or of the maximal part of a broken or unfinished one
  Form form;
};

/// What may follow a lead byte: how many bytes, and the range of the first of them.
struct Continuation {
  size_t count;
  uint8_t second_low;
  uint8_t second_high;
};

Continuation continuation_of(uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {1, 0x80, 0xBF};
  if (lead == 0xE0) return {2, 0xA0, 0xBF};  // below: overlong
  if (lead == 0xED) return {2, 0x80, 0x9F};  // above: surrogates
  if (lead >= 0xE1 && lead <= 0xEF) return {2, 0x80, 0xBF};
  if (lead == 0xF0) return {3, 0x90, 0xBF};  // below: overlong
  if (lead >= 0xF1 && lead <= 0xF3) return {3, 0x80, 0xBF};
  if (lead == 0xF4) return {3, 0x80, 0x8F};  // above: beyond U+10FFFF
  return {0, 0, 0};
}

Sequence sequence_at(std::string_view bytes, size_t at) {
  const auto lead = static_cast<uint8_t>(bytes[at]);
  if (lead < 0x80) return {1, Form::whole};
  const Continuation rest = continuation_of(lead);
  if (rest.count == 0) return {1, Form::broken};
  for (size_t i = 1; i <= rest.count; ++i) {
    if (at + i == bytes.size()) return {i, Form::unfinished};
    const auto byte = static_cast<uint8_t>(bytes[at + i]);
    const uint8_t low = i == 1 ? rest.second_low : 0x80;
    const uint8_t high = i == 1 ? rest.second_high : 0xBF;
    if (byte < low || byte > high) return {i, Form::broken};
  }
  return {rest.count + 1, Form::whole};
}

bool is_continuation(char byte) {
  return (static_cast<uint8_t>(byte) & 0xC0) == 0x80;
}

/// Whether one well-formed character has the Unicode property White_Space.
bool is_white_space(std::string_view character) {
  if (character.size() == 1) {
    return character[0] == ' ' || (character[0] >= '\t' && character[0] <= '\r');
  }
  static constexpr std::string_view kWide[] = {"\u0085", "\u00A0", "\u1680", "\u2000", "\u2001",
                                               "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
                                               "\u2007", "\u2008", "\u2009", "\u200A", "\u2028",
                                               "\u2029", "\u202F", "\u205F", "\u3000"};
  for (const std::string_view wide : kWide) {
    if (character == wide) return true;
  }
  return false;
}

}  // namespace

std::optional<size_t> find_invalid_utf8(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const Sequence sequence = sequence_at(bytes, at);
    if (sequence.form != Form::whole) return at;
    at += sequence.length;
  }
  return std::nullopt;
}

size_t append_complete_utf8(std::string_view bytes, std::string& text) {
  size_t at = 0;
  while (at < bytes.size()) {
    const Sequence sequence = sequence_at(bytes, at);
    if (sequence.form == Form::unfinished) break;
    text += sequence.form == Form::whole ? bytes.substr(at, sequence.length) : kReplacement;
    at += sequence.length;
  }
  return at;
}

void append_lossy_utf8(std::string_view bytes, std::string& text) {
  if (append_complete_utf8(bytes, text) < bytes.size()) text += kReplacement;
}

size_t leading_white_space(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = sequence_at(text, at).length;
    if (!is_white_space(text.substr(at, length))) break;
    at += length;
  }
  return at;
}

size_t trailing_white_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t start = end - 1;
    while (start > 0 && is_continuation(text[start]))
      --start;
    if (!is_white_space(text.substr(start, end - start))) break;
    end = start;
  }
  return text.size() - end;
}

}  // namespace tetrad
