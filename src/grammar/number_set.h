#pragma once

// The numbers that a JSON Schema allows, as JSON texts.

#include <optional>

#include "base/error.h"
#include "base/json.h"
#include "grammar/automaton.h"

namespace tetrad::grammar {

struct NumberBound {
  json::value value;  // a number
  bool exclusive = false;
};

struct NumberSet {
  bool integer = false;
  std::optional<NumberBound> min;
  std::optional<NumberBound> max;
  std::optional<json::value> multiple_of;  // a number above 0
};

/// The texts of a set's numbers; none if no number, or none that can be written so, is in it.
///
///   integers       plain digits, at most 40 of them; no fraction, no exponent, no -0
///   numbers        at most 40 digits before and 20 after the point; or one digit, up to 20 more
///                  after a point and an exponent. Every double has a text, no text is beyond a
///                  double
///   with a bound   numbers without an exponent and without -0. A text is compared by its exact
///   or multiple_of decimal value, a bound by its shortest decimal text. Next to an exclusive bound
///                  texts of numbers that round to it as a double are out too. Digits before the
///                  point are not counted where that takes too many states with a multiple_of
///
/// Errors, all ErrorCode::invalid_argument: a value that is no number; a multiple_of that is not
/// above 0, or has too many digits to keep remainders of: over kMaxRemainders; the limits.
Result<Automaton> number_texts(const NumberSet& set, AutomatonLimits limits);

/// How many remainders a multiple_of may have: 0.01 has 1, 0.25 has 25, 10000 has 10,000.
constexpr int64_t kMaxRemainders = 10'000;

}  // namespace tetrad::grammar
