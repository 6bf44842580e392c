#pragma once

#include <string>

#include "base/json.h"

namespace tetrad::grammar {

/// An exact decimal number: digits × 10 ^ exponent. The digits have no leading zeros; 0 has none.
struct Decimal {
  bool negative = false;
  std::string digits;
  int exponent = 0;
};

/// Of a double, the shortest decimal that reads back as it. `number`: a finite one.
Decimal to_decimal(const json::value& number);
Decimal to_decimal(double number);

/// A whole number of any size, digits without leading zeros; 0 is "0" and never negative.
struct BigInteger {
  bool negative = false;
  std::string digits = "0";
};

/// The least whole number of units of 10 ^ -places at or above a number (`above`: above it).
BigInteger round_up(const Decimal& number, int places, bool above);
/// The greatest at or below it (`below`: below it).
BigInteger round_down(const Decimal& number, int places, bool below);

}  // namespace tetrad::grammar
