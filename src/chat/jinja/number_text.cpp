#include "chat/jinja/number_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "chat/jinja/unicode.h"

namespace tetrad::jinja {
namespace {

__extension__ typedef unsigned __int128 UnsignedInt;

UnsignedInt magnitude(Int value) {
  const auto bits = static_cast<UnsignedInt>(value);
  return value < 0 ? UnsignedInt{0} - bits : bits;
}

std::string_view strip_spaces(std::string_view text) {
  size_t begin = text.size();
  size_t end = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t start = position;
    if (is_space(decode_code_point(text, position))) continue;
    begin = std::min(begin, start);
    end = position;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

int digit_value(char c) {
  if (is_ascii_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

int base_of_prefix(std::string_view text) {
  if (text.size() < 2 || text[0] != '0') return 0;
  switch (text[1]) {
    case 'x':
    case 'X':
      return 16;
    case 'o':
    case 'O':
      return 8;
    case 'b':
    case 'B':
      return 2;
    default:
      return 0;
  }
}

/// Digits with single underscores between them.
std::optional<UnsignedInt> parse_digits(std::string_view text, int base) {
  UnsignedInt value = 0;
  bool after_digit = false;
  for (const char c : text) {
    if (c == '_') {
      if (!after_digit) return std::nullopt;
      after_digit = false;
      continue;
    }
    const int digit = digit_value(c);
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, static_cast<UnsignedInt>(base), &value) ||
        __builtin_add_overflow(value, static_cast<UnsignedInt>(digit), &value)) {
      return std::nullopt;
    }
    after_digit = true;
  }
  if (!after_digit) return std::nullopt;
  return value;
}

/// The text without underscores, each of which must stand between digits.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      plain += text[i];
    } else if (i == 0 || i + 1 == text.size() || !is_ascii_digit(text[i - 1]) ||
               !is_ascii_digit(text[i + 1])) {
      return std::nullopt;
    }
  }
  return plain;
}

}  // namespace

std::string digits_in_base(Int value, int base, bool upper_case) {
  const std::string_view digits = upper_case ? "0123456789ABCDEF" : "0123456789abcdef";
  UnsignedInt rest = magnitude(value);
  std::string text;
  do {
    text += digits[static_cast<size_t>(rest % static_cast<UnsignedInt>(base))];
    rest /= static_cast<UnsignedInt>(base);
  } while (rest != 0);
  std::reverse(text.begin(), text.end());
  return text;
}

std::string int_text(Int value) {
  return (value < 0 ? "-" : "") + digits_in_base(value, 10, false);
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific)
                       .ptr;
  // d.ddde±xx: take it apart and lay it out as Python does.
  const std::string_view scientific(buffer.data(), static_cast<size_t>(end - buffer.data()));
  const size_t e = scientific.find('e');
  int exponent = 0;
  const char* exponent_text = scientific.data() + e + (scientific[e + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_text, end, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(scientific);

  const std::string sign = std::signbit(value) ? "-" : "";
  std::string digits;
  for (const char c : scientific.substr(0, e)) {
    if (is_ascii_digit(c)) digits += c;
  }
  if (exponent < 0) {
    return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  }
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::optional<Int> parse_int(std::string_view text, int base) {
  text = strip_spaces(text);
  bool is_negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    is_negative = text[0] == '-';
    text.remove_prefix(1);
  }
  const int prefix_base = base_of_prefix(text);
  if (base == 0 && prefix_base == 0) {
    // Like a literal: no zeros in front of other digits.
    base = 10;
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != text.npos) {
      return std::nullopt;
    }
  } else if (prefix_base != 0 && (base == 0 || base == prefix_base)) {
    base = prefix_base;
    text.remove_prefix(2);
    if (!text.empty() && text[0] == '_') text.remove_prefix(1);
  }
  const auto value = parse_digits(text, base);
  if (!value || *value > (~UnsignedInt{0} >> 1)) return std::nullopt;
  const Int result = static_cast<Int>(*value);
  return is_negative ? -result : result;
}

std::optional<double> parse_float(std::string_view text) {
  const auto plain = without_underscores(strip_spaces(text));
  if (!plain || plain->empty()) return std::nullopt;
  std::string_view rest = *plain;
  const bool is_negative = rest[0] == '-';
  if (rest[0] == '-' || rest[0] == '+') rest.remove_prefix(1);
  // from_chars takes a second sign and "nan(…)", Python does not.
  if (rest.empty() || rest[0] == '-' || rest.find('(') != rest.npos) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (end != rest.data() + rest.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    // Too large or too small: the exponent tells which.
    const size_t e = rest.find_first_of("eE");
    const bool is_tiny = e == rest.npos ? rest[0] == '0' || rest[0] == '.' : rest[e + 1] == '-';
    value = is_tiny ? 0.0 : HUGE_VAL;
  } else if (error != std::errc()) {
    return std::nullopt;
  }
  return is_negative ? -value : value;
}

std::optional<Int> truncate_to_int(double value) {
  constexpr double kLimit = 0x1p127;
  if (!(value > -kLimit && value < kLimit)) return std::nullopt;
  return static_cast<Int>(value);
}

}  // namespace tetrad::jinja
