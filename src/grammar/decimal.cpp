#include "grammar/decimal.h"

#include <array>
#include <charconv>
#include <cmath>

namespace tetrad::grammar {
namespace {

std::string without_leading_zeros(std::string digits) {
  digits.erase(0, digits.find_first_not_of('0'));
  return digits;
}

std::string plus_one(std::string digits) {
  for (size_t i = digits.size(); i > 0; --i) {
    if (digits[i - 1] != '9') {
      ++digits[i - 1];
      return digits;
    }
    digits[i - 1] = '0';
  }
  return "1" + digits;
}

/// Of a number above 0.
std::string minus_one(std::string digits) {
  size_t i = digits.size() - 1;
  for (; digits[i] == '0'; --i)
    digits[i] = '9';
  --digits[i];
  return without_leading_zeros(std::move(digits));
}

BigInteger to_big_integer(bool negative, std::string digits) {
  if (digits.empty()) return {};
  return {negative, std::move(digits)};
}

}  // namespace

Decimal to_decimal(double number) {
  std::array<char, 32> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(),
                                          std::abs(number), std::chars_format::scientific);
  const std::string_view text(buffer.data(), end);
  const size_t mark = text.find('e');
  std::string digits(text.substr(0, mark));
  if (const size_t point = digits.find('.'); point != std::string::npos) digits.erase(point, 1);
  const bool minus = text[mark + 1] == '-';
  int exponent = 0;
  std::from_chars(text.data() + mark + 2, text.data() + text.size(), exponent);
  if (minus) exponent = -exponent;
  exponent -= static_cast<int>(digits.size()) - 1;
  digits = without_leading_zeros(std::move(digits));
  return {std::signbit(number) && !digits.empty(), std::move(digits), exponent};
}

Decimal to_decimal(const json::value& number) {
  if (number.is_double()) return to_decimal(number.get_double());
  std::string digits = number.is_int64() ? fmt::format("{}", number.get_int64())
                                         : fmt::format("{}", number.get_uint64());
  const bool negative = digits.front() == '-';
  if (negative) digits.erase(0, 1);
  return {negative, without_leading_zeros(std::move(digits)), 0};
}

BigInteger round_up(const Decimal& number, int places, bool above) {
  std::string digits = number.digits;
  const int zeros = number.exponent + places;
  bool exact = true;
  if (digits.empty()) {
    // 0 is a whole number of any unit
  } else if (zeros >= 0) {
    digits.append(static_cast<size_t>(zeros), '0');
  } else {
    const size_t kept = digits.size() - std::min(digits.size(), static_cast<size_t>(-zeros));
    exact = digits.find_first_not_of('0', kept) == std::string::npos;
    digits.resize(kept);
  }
  if (exact && !above) return to_big_integer(number.negative, std::move(digits));
  // Cutting off the rest of a negative number has rounded it up already.
  if (!number.negative) return to_big_integer(false, plus_one(std::move(digits)));
  return to_big_integer(true, exact ? minus_one(std::move(digits)) : std::move(digits));
}

BigInteger round_down(const Decimal& number, int places, bool below) {
  Decimal opposite = number;
  opposite.negative = !number.negative && !number.digits.empty();
  BigInteger result = round_up(opposite, places, below);
  if (result.digits != "0") result.negative = !result.negative;
  return result;
}

}  // namespace tetrad::grammar
