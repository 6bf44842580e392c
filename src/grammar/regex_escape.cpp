#include "grammar/regex_escape.h"

#include <fmt/core.h>

#include <optional>
#include <string>

#include "text/utf8.h"

namespace tetrad::grammar {
namespace {

bool is_ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

std::optional<uint32_t> hex_digit(char c) {
  if (is_ascii_digit(c)) return static_cast<uint32_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<uint32_t>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<uint32_t>(c - 'A' + 10);
  return std::nullopt;
}

/// Behind "\u": XXXX, a pair of surrogates as XXXX\uXXXX, or {X…}.
Result<char32_t> unicode_escape(PatternCursor& cursor, size_t start) {
  if (cursor.take("{")) {
    char32_t value = 0;
    int digits = 0;
    for (; value <= kLastCodePoint; ++digits) {
      const std::optional<char32_t> digit = cursor.take_hex(1);
      if (!digit) break;
      value = value * 16 + *digit;
    }
    if (digits == 0 || value > kLastCodePoint || !cursor.take("}")) {
      return bad_pattern(start, "\\u{…} takes the hexadecimal digits of one code point");
    }
    return value;
  }
  const std::optional<char32_t> first = cursor.take_hex(4);
  if (!first) return bad_pattern(start, "\\u takes four hexadecimal digits, or {…}");
  if (*first < 0xD800 || *first > 0xDBFF) return *first;
  const size_t behind = cursor.offset();
  if (cursor.take("\\u")) {
    const std::optional<char32_t> second = cursor.take_hex(4);
    if (second && *second >= 0xDC00 && *second <= kLastSurrogate) {
      return 0x10000 + ((*first - 0xD800) << 10) + (*second - 0xDC00);
    }
  }
  cursor.move_to(behind);
  return *first;
}

std::optional<CodePointSet> set_escape(char letter) {
  switch (letter) {
    case 'd':
      return digit_characters();
    case 'D':
      return digit_characters().complement();
    case 'w':
      return word_characters();
    case 'W':
      return word_characters().complement();
    case 's':
      return space_characters();
    case 'S':
      return space_characters().complement();
    default:
      return std::nullopt;
  }
}

std::optional<char32_t> control_escape(char letter) {
  switch (letter) {
    case 't':
      return U'\t';
    case 'n':
      return U'\n';
    case 'r':
      return U'\r';
    case 'f':
      return U'\f';
    case 'v':
      return U'\v';
    default:
      return std::nullopt;
  }
}

/// Behind "\\p" or "\\P".
Result<RegexEscape> property_escape(PatternCursor& cursor, size_t start, bool inverted) {
  const bool braces = cursor.take("{");
  const std::optional<std::string_view> name =
      braces ? cursor.take_until('}') : std::optional<std::string_view>();
  if (!name) return bad_pattern(start, "\\p takes a property between braces, as in \\p{Letter}");
  std::optional<CodePointSet> set = unicode_property(*name);
  if (!set) {
    std::string shown;
    append_complete_utf8(name->substr(0, 64), shown);
    return bad_pattern(start, fmt::format("the property \"{}\" is not known; general categories "
                                          "are, such as L, Lu or Decimal_Number",
                                          shown));
  }
  return inverted ? set->complement() : *std::move(set);
}

}  // namespace

bool PatternCursor::take(std::string_view text) {
  if (!starts_with(text)) return false;
  at_ += text.size();
  return true;
}

std::optional<std::string_view> PatternCursor::take_until(char delimiter) {
  const size_t end = pattern_.find(delimiter, at_);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view text = pattern_.substr(at_, end - at_);
  at_ = end + 1;
  return text;
}

std::optional<int64_t> PatternCursor::take_number() {
  int64_t value = 0;
  const size_t start = at_;
  for (; is_ascii_digit(peek()); ++at_) {
    if (at_ - start == 9) return std::nullopt;
    value = 10 * value + (peek() - '0');
  }
  if (at_ == start) return std::nullopt;
  return value;
}

std::optional<char32_t> PatternCursor::take_hex(int digits) {
  char32_t value = 0;
  for (int i = 0; i < digits; ++i, ++at_) {
    const std::optional<uint32_t> digit = hex_digit(peek());
    if (!digit) return std::nullopt;
    value = value * 16 + *digit;
  }
  return value;
}

tl::unexpected<Error> bad_pattern(size_t offset, std::string_view what) {
  return fail(ErrorCode::invalid_argument, "the pattern, at offset {}: {}", offset, what);
}

Result<RegexEscape> read_escape(PatternCursor& cursor, bool in_class) {
  const size_t start = cursor.offset() - 1;
  if (cursor.done()) return bad_pattern(start, "a backslash ends the pattern");
  const char letter = cursor.peek();
  const char32_t character = cursor.next();
  if (auto set = set_escape(letter)) return *std::move(set);
  if (const auto control = control_escape(letter)) return *control;
  if (letter == 'p' || letter == 'P') return property_escape(cursor, start, letter == 'P');
  if (letter == 'u') {
    TETRAD_ASSIGN(const char32_t value, unicode_escape(cursor, start));
    return value;
  }
  if (letter == 'x') {
    if (const auto value = cursor.take_hex(2)) return *value;
    return bad_pattern(start, "\\x takes two hexadecimal digits");
  }
  if (letter == 'c') {
    if (!is_ascii_letter(cursor.peek())) return bad_pattern(start, "\\c takes a letter");
    return cursor.next() & 0x1F;
  }
  if (letter == '0') {
    if (!is_ascii_digit(cursor.peek())) return char32_t{0};
    return bad_pattern(start, "octal escapes are not known; write \\xHH");
  }
  if (is_ascii_digit(letter) || letter == 'k') {
    return bad_pattern(start, "back references are not regular, and not supported");
  }
  if (letter == 'b' && in_class) return U'\b';
  if (letter == 'b' || letter == 'B') {
    return bad_pattern(start, "word boundaries (\\b, \\B) are not supported");
  }
  if (!in_class && letter == 'A') return RegexAssertion::begin;
  if (!in_class && letter == 'Z') return RegexAssertion::end;
  // Punctuation stands for itself; the language may still give letters a meaning.
  if (!is_ascii_letter(letter) && character < 0x80) return character;
  return bad_pattern(start, "an escape that is not known");
}

}  // namespace tetrad::grammar
