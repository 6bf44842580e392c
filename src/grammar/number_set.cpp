#include "grammar/number_set.h"

#include <cmath>
#include <compare>
#include <cstdlib>
#include <limits>
#include <string>

#include "grammar/decimal.h"
#include "grammar/text_machine.h"

namespace tetrad::grammar {
namespace {

constexpr std::string_view kNumberCharacters = "-.0123456789";
constexpr int kMaxIntegerDigits = 40;
constexpr int kMaxFractionDigits = 20;

bool is_number_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Plain numbers on one side of a bound. Of texts that are no numbers nothing is said.
class BoundMachine {
 public:
  enum class Side { at_least, at_most };

  /// `bound`: in units of 10 ^ -places.
  BoundMachine(const BigInteger& bound, int places, Side side)
      : negative_(bound.negative), side_(side) {
    std::string digits = bound.digits;
    const auto fraction = static_cast<size_t>(places);
    if (digits.size() <= fraction) digits.insert(0, fraction + 1 - digits.size(), '0');
    whole_ = digits.substr(0, digits.size() - fraction);
    fraction_ = digits.substr(digits.size() - fraction);
  }

  enum class Phase { start, whole, fraction, everything };
  struct State {
    Phase phase = Phase::start;
    bool minus = false;
    size_t digits = 0;  // read of the part at hand; at most one more than the bound has
    int order = 0;      // of those to the bound's: below 0, 0, above
    auto operator<=>(const State&) const = default;
  };

  State start() const { return {}; }

  std::optional<State> step(const State& state, char c) const {
    switch (state.phase) {
      case Phase::everything:
        return state;
      case Phase::start: {
        if (c == '.') return std::nullopt;
        const State begun{.phase = Phase::whole, .minus = c == '-'};
        if (begun.minus != negative_) {
          // The sign alone decides: a negative number is below a bound that is none.
          if (begun.minus == (side_ == Side::at_least)) return std::nullopt;
          return State{.phase = Phase::everything};
        }
        return begun.minus ? begun : digit(begun, c, whole_);
      }
      case Phase::whole: {
        if (is_number_digit(c)) return digit(state, c, whole_);
        if (c != '.') return std::nullopt;
        return State{Phase::fraction, state.minus, 0, whole_order(state)};
      }
      case Phase::fraction: {
        if (!is_number_digit(c)) return std::nullopt;
        return state.order == 0 ? digit(state, c, fraction_) : state;
      }
    }
    return std::nullopt;
  }

  bool accepts(const State& state) const {
    if (state.phase == Phase::everything) return true;
    if (state.phase == Phase::start || (state.phase == Phase::whole && state.digits == 0)) {
      return false;
    }
    int order = state.phase == Phase::whole ? whole_order(state) : state.order;
    const size_t compared = state.phase == Phase::whole ? 0 : state.digits;
    if (order == 0 && compared < fraction_.size() &&
        fraction_.find_first_not_of('0', compared) != std::string::npos) {
      order = -1;  // the bound has more digits, which are not 0
    }
    const bool larger = (side_ == Side::at_least) != negative_;
    return larger ? order >= 0 : order <= 0;
  }

 private:
  static std::optional<State> digit(State state, char c, const std::string& bound) {
    if (state.digits >= bound.size()) {
      state.digits = bound.size() + 1;
      // More digits than the bound has: a larger whole number; of a fraction only zeros are equal.
      if (state.phase == Phase::whole || c != '0') state.order = 1;
      return state;
    }
    const char other = bound[state.digits++];
    if (state.order == 0) state.order = c < other ? -1 : c > other ? 1 : 0;
    return state;
  }

  int whole_order(const State& state) const {
    return state.digits < whole_.size() ? -1 : state.order;
  }

  bool negative_;
  Side side_;
  std::string whole_;
  std::string fraction_;
};

/// Plain numbers that are a multiple of units × 10 ^ -places.
class MultipleMachine {
 public:
  MultipleMachine(int64_t units, int places) : units_(units), places_(places) {}

  struct State {
    bool begun = false;
    int fraction_digits = -1;  // no point yet; at most places_
    int64_t remainder = 0;     // of all digits read, by units_
    auto operator<=>(const State&) const = default;
  };

  State start() const { return {}; }

  std::optional<State> step(State state, char c) const {
    if (c == '-') {
      if (state.begun) return std::nullopt;
      return State{.begun = true};
    }
    state.begun = true;
    if (c == '.') {
      if (state.fraction_digits >= 0 || (places_ == 0 && state.remainder != 0)) return std::nullopt;
      state.fraction_digits = 0;
      return state;
    }
    if (state.fraction_digits == places_) {
      // Further digits are none of a multiple's.
      return c == '0' && state.remainder == 0 ? std::optional(state) : std::nullopt;
    }
    if (state.fraction_digits >= 0) ++state.fraction_digits;
    state.remainder = (10 * state.remainder + (c - '0')) % units_;
    return state;
  }

  bool accepts(const State& state) const {
    int64_t remainder = state.remainder;
    for (int place = std::max(state.fraction_digits, 0); place < places_; ++place)
      remainder = 10 * remainder % units_;
    return remainder == 0;
  }

 private:
  int64_t units_;
  int places_;
};

/// Digits of [1, 1.7976931348623157], the mantissas of the largest doubles.
std::string largest_mantissas() {
  constexpr std::string_view kFraction = "7976931348623157";
  std::string options;
  for (size_t i = 0; i < kFraction.size(); ++i) {
    const std::string_view same = kFraction.substr(0, i);
    if (kFraction[i] > '0') {
      options += fmt::format("{}[0-{}][0-9]{{0,{}}}|", same, static_cast<char>(kFraction[i] - 1),
                             kMaxFractionDigits - 1 - static_cast<int>(i));
    }
    if (i > 0) options += fmt::format("{}|", same);
  }
  return fmt::format("1(?:\\.(?:{}{}))?", options, kFraction);
}

Result<Automaton> numbers_with_exponents(AutomatonLimits limits) {
  const std::string exponents =
      "(?:\\+?(?:[0-9]{1,2}|[0-2][0-9]{2}|30[0-7])|-(?:[0-9]{1,2}|[0-2][0-9]{2}|3[01][0-9]|32[0-4])"
      ")";
  return parse_regex(fmt::format("-?(?:[1-9](?:\\.[0-9]{{1,{}}})?[eE]{}|{}[eE]\\+?308)",
                                 kMaxFractionDigits, exponents, largest_mantissas()),
                     RegexMatch::whole, limits);
}

/// Without exponents and without -0.
Result<Automaton> plain_numbers(bool integer, bool any_length, AutomatonLimits limits) {
  const std::string whole = any_length ? std::string("[1-9][0-9]*")
                                       : fmt::format("[1-9][0-9]{{0,{}}}", kMaxIntegerDigits - 1);
  if (integer) return parse_regex(fmt::format("0|-?{}", whole), RegexMatch::whole, limits);
  const std::string fraction = fmt::format("\\.[0-9]{{1,{}}}", kMaxFractionDigits);
  TETRAD_ASSIGN(const Automaton all,
                parse_regex(fmt::format("(?:0|-?{0})(?:{1})?|-0{1}", whole, fraction),
                            RegexMatch::whole, limits));
  TETRAD_ASSIGN(const Automaton minus_zero, parse_regex("-0\\.0+", RegexMatch::whole, limits));
  return all.subtract(minus_zero, limits);
}

Result<Automaton> all_numbers(AutomatonLimits limits) {
  TETRAD_ASSIGN(const Automaton exponents, numbers_with_exponents(limits));
  TETRAD_ASSIGN(const Automaton plain,
                parse_regex(fmt::format("-?(?:0|[1-9][0-9]{{0,{}}})(?:\\.[0-9]{{1,{}}})?",
                                        kMaxIntegerDigits - 1, kMaxFractionDigits),
                            RegexMatch::whole, limits));
  return plain.unite(exponents, limits);
}

Result<void> check_number(const json::value& value, std::string_view what) {
  if (value.is_number() && (!value.is_double() || std::isfinite(value.get_double()))) return {};
  return fail(ErrorCode::invalid_argument, "{} must be a number, not {}", what,
              json_kind_name(value));
}

/// The bound in units of the last digit there may be; none: nothing is within it.
std::optional<BigInteger> bound_units(const NumberBound& bound, bool integer,
                                      BoundMachine::Side side) {
  const bool lower = side == BoundMachine::Side::at_least;
  Decimal number = to_decimal(bound.value);
  bool exclusive = bound.exclusive;
  if (exclusive && !integer) {
    // Of the texts between the bound and the next double some read back as the bound.
    const double end =
        lower ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
    const double next = std::nextafter(bound.value.to_number<double>(), end);
    if (!std::isfinite(next)) return std::nullopt;
    number = to_decimal(next);
    exclusive = false;
  }
  const int places = integer ? 0 : kMaxFractionDigits;
  return lower ? round_up(number, places, exclusive) : round_down(number, places, exclusive);
}

Result<Automaton> within_bound(const Automaton& numbers, const NumberBound& bound, bool integer,
                               BoundMachine::Side side, AutomatonLimits limits) {
  const std::optional<BigInteger> units = bound_units(bound, integer, side);
  if (!units) return Automaton::none();
  const BoundMachine machine(*units, integer ? 0 : kMaxFractionDigits, side);
  TETRAD_ASSIGN(const Automaton inside, automaton_of(machine, kNumberCharacters, limits));
  return numbers.intersect(inside, limits);
}

Result<Automaton> multiples_of(const json::value& value, AutomatonLimits limits) {
  Decimal number = to_decimal(value);
  if (number.negative || number.digits.empty()) {
    return fail(ErrorCode::invalid_argument, "multipleOf must be above 0");
  }
  while (number.digits.back() == '0') {
    number.digits.pop_back();
    ++number.exponent;
  }
  const auto places = std::max(-number.exponent, 0);
  const auto zeros = static_cast<size_t>(std::max(number.exponent, 0));
  constexpr size_t kMaxUnitDigits = 5;  // those of kMaxRemainders
  if (number.digits.size() + zeros <= kMaxUnitDigits && places <= kMaxFractionDigits) {
    number.digits.append(zeros, '0');
    const int64_t units = std::strtoll(number.digits.c_str(), nullptr, 10);
    if (units <= kMaxRemainders) {
      return automaton_of(MultipleMachine(units, places), kNumberCharacters, limits);
    }
  }
  return fail(ErrorCode::invalid_argument,
              "multipleOf {} has too many digits: at most {} steps of its last digit are supported",
              to_json_text(value), kMaxRemainders);
}

}  // namespace

Result<Automaton> number_texts(const NumberSet& set, AutomatonLimits limits) {
  if (set.min) TETRAD_TRY(check_number(set.min->value, "a minimum"));
  if (set.max) TETRAD_TRY(check_number(set.max->value, "a maximum"));
  if (set.multiple_of) TETRAD_TRY(check_number(*set.multiple_of, "multipleOf"));
  if (!set.integer && !set.min && !set.max && !set.multiple_of) return all_numbers(limits);

  std::optional<Automaton> multiples;
  if (set.multiple_of) {
    TETRAD_ASSIGN(multiples, multiples_of(*set.multiple_of, limits));
  }
  const bool any_length =
      multiples && kMaxIntegerDigits * multiples->impl().dfa.num_states() > limits.max_states;
  TETRAD_ASSIGN(Automaton numbers, plain_numbers(set.integer, any_length, limits));
  if (set.min) {
    TETRAD_ASSIGN(numbers, within_bound(numbers, *set.min, set.integer,
                                        BoundMachine::Side::at_least, limits));
  }
  if (set.max) {
    TETRAD_ASSIGN(
        numbers, within_bound(numbers, *set.max, set.integer, BoundMachine::Side::at_most, limits));
  }
  if (multiples) return numbers.intersect(*multiples, limits);
  return numbers;
}

}  // namespace tetrad::grammar
