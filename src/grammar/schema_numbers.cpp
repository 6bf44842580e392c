#include "grammar/schema_numbers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "grammar/code_point_dfa.h"
#include "grammar/schema_keywords.h"

namespace tetrad::grammar {
namespace {

/// Plain digits, however many; the shortest that read back as the same number.
std::string plain_number(const json::value& number) {
  if (const int64_t* whole = number.if_int64()) return fmt::format("{}", *whole);
  if (const uint64_t* whole = number.if_uint64()) return fmt::format("{}", *whole);
  const double value = number.get_double();
  if (value == 0) return "0";
  std::array<char, 400> buffer;  // -1.7e308 has 310 characters, 5e-324 has 327
  const auto [end, ec] =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  return {buffer.data(), end};
}

Result<const json::value*> number_member(const SchemaDocument& document, const json::value& node,
                                         std::string_view keyword) {
  const json::value* member = schema_member(node, keyword);
  if (member != nullptr && !member->is_number())
    return document.fail_at(node, keyword, "must be a number, not {}", json_kind_name(*member));
  return member;
}

/// Lower bounds if `lower`, else upper ones: the tighter of the two.
void tighten(std::optional<NumberBound>& bound, const json::value& value, bool exclusive,
             bool lower) {
  if (bound) {
    const std::partial_ordering order = compare_numbers(value, bound->value);
    if (order == 0) bound->exclusive = bound->exclusive || exclusive;
    if (lower ? order <= 0 : order >= 0) return;
  }
  bound = NumberBound{value, exclusive};
}

/// "minimum" and "exclusiveMinimum", which up to draft 4 was a boolean.
Result<void> add_bound(const SchemaDocument& document, const json::value& node,
                       std::string_view inclusive, std::string_view exclusive, bool lower,
                       std::optional<NumberBound>& bound) {
  const json::value* strict = schema_member(node, exclusive);
  const bool is_flag = strict != nullptr && strict->is_bool();
  TETRAD_ASSIGN(const json::value* value, number_member(document, node, inclusive));
  if (value != nullptr) tighten(bound, *value, is_flag && strict->get_bool(), lower);
  if (strict == nullptr || is_flag) return {};
  TETRAD_ASSIGN(strict, number_member(document, node, exclusive));
  tighten(bound, *strict, true, lower);
  return {};
}

Result<void> add_keywords(const SchemaDocument& document, const json::value& node,
                          NumberConstraints& numbers) {
  TETRAD_TRY(add_bound(document, node, "minimum", "exclusiveMinimum", true, numbers.min));
  TETRAD_TRY(add_bound(document, node, "maximum", "exclusiveMaximum", false, numbers.max));
  TETRAD_ASSIGN(const json::value* multiple, number_member(document, node, "multipleOf"));
  if (multiple == nullptr) return {};
  if (compare_numbers(*multiple, json::value(0)) <= 0)
    return document.fail_at(node, "multipleOf", "must be above 0");
  numbers.at = &node;
  const auto same = [&](const json::value& other) { return equal_json(other, *multiple); };
  if (std::ranges::none_of(numbers.multiples_of, same)) numbers.multiples_of.push_back(*multiple);
  return {};
}

/// Numbers that do not satisfy one bound.
Result<void> violate_bound(const SchemaDocument& document, const Term& term,
                           NumberConstraints& numbers) {
  const std::string_view keyword = term.key;
  const bool is_lower = keyword.ends_with("inimum");
  TETRAD_ASSIGN(const json::value* bound, number_member(document, *term.node, keyword));
  bool exclusive = keyword.starts_with("exclusive");
  if (!exclusive) {
    const json::value* flag =
        schema_member(*term.node, is_lower ? "exclusiveMinimum" : "exclusiveMaximum");
    exclusive = flag != nullptr && flag->is_bool() && flag->get_bool();
  }
  tighten(is_lower ? numbers.max : numbers.min, *bound, !exclusive, !is_lower);
  return {};
}

bool smaller_number(const json::value* a, const json::value* b) {
  return compare_numbers(*a, *b) < 0;
}

/// Sorted.
std::vector<const json::value*> listed_numbers(const Term& term) {
  std::vector<const json::value*> listed;
  if (term.kind == Term::Kind::equals) {
    listed.push_back(term.node);
  } else {
    for (const json::value& value : term.node->get_array()) {
      if (value.is_number()) listed.push_back(&value);
    }
  }
  std::ranges::sort(listed, smaller_number);
  return listed;
}

void keep_numbers(const Term& term, NumberConstraints& numbers) {
  std::vector<const json::value*> listed = listed_numbers(term);
  if (!numbers.finite) {
    numbers.finite = std::move(listed);
    return;
  }
  std::erase_if(*numbers.finite, [&](const json::value* value) {
    return !std::ranges::binary_search(listed, value, smaller_number);
  });
}

/// Numbers with a fraction that a reader may lose: a double holds 15 digits.
Result<Automaton> rounded_to_integers(AutomatonLimits limits) {
  constexpr int kDoubleDigits = 15;
  std::string options;
  for (int whole = 1; whole <= kDoubleDigits; ++whole) {
    const int places = std::max(1, kDoubleDigits - whole);
    options += fmt::format("{0}[0-9]{{{1}}}\\.(0{{{2}}}|9{{{2}}})[0-9]*", whole > 1 ? "|" : "",
                           whole, places);
  }
  return parse_regex(fmt::format("-?({})", options), RegexMatch::whole, limits);
}

class InfiniteNumbers {
 public:
  InfiniteNumbers(const SchemaDocument& document, SchemaBudget& budget,
                  const NumberConstraints& numbers)
      : document_(document), budget_(budget), numbers_(numbers) {}

  Result<Automaton> automaton() {
    NumberSet set{.integer = numbers_.integer, .min = numbers_.min, .max = numbers_.max};
    if (numbers_.fraction) {
      // Further from 0 a double has no digit behind the point. With a bound there are no exponents.
      tighten(set.min, json::value(-1'000'000'000'000'000), true, true);
      tighten(set.max, json::value(1'000'000'000'000'000), true, false);
    }
    TETRAD_ASSIGN(Automaton all, without_excluded(set));
    for (const json::value& multiple : numbers_.multiples_of) {
      set.multiple_of = multiple;
      TETRAD_ASSIGN(const Automaton multiples, texts(set));
      TETRAD_ASSIGN(all, paid(all.intersect(multiples, limits())));
    }
    if (!numbers_.fraction) return all;
    set.multiple_of = json::value(1);
    TETRAD_ASSIGN(const Automaton integers, texts(set));
    TETRAD_ASSIGN(all, paid(all.subtract(integers, limits())));
    TETRAD_ASSIGN(const Automaton rounded, paid(rounded_to_integers(limits())));
    return paid(all.subtract(rounded, limits()));
  }

 private:
  AutomatonLimits limits() const { return budget_.limits().automata; }

  Result<Automaton> paid(Result<Automaton> made) {
    if (!made) {
      const bool has_multiple = !numbers_.multiples_of.empty();
      return document_.fail_at(numbers_.at == nullptr ? document_.root() : *numbers_.at,
                               has_multiple ? "multipleOf" : "", std::move(made.error()));
    }
    TETRAD_TRY(budget_.spend(2000 + 30 * made->impl().dfa.num_states()));
    return made;
  }

  Result<Automaton> texts(const NumberSet& set) { return paid(number_texts(set, limits())); }

  /// What is below, between and above the numbers that are taken away: next to an exclusive bound
  /// there is no text that a reader would round to it.
  Result<Automaton> without_excluded(const NumberSet& set) {
    if (numbers_.excluded.empty()) return texts(set);
    Automaton all = Automaton::none();
    NumberSet part = set;
    for (size_t i = 0; i <= numbers_.excluded.size(); ++i) {
      part.max = set.max;
      if (i < numbers_.excluded.size()) tighten(part.max, *numbers_.excluded[i], true, false);
      TETRAD_ASSIGN(const Automaton between, texts(part));
      TETRAD_ASSIGN(all, paid(all.unite(between, limits())));
      part.min = set.min;
      if (i < numbers_.excluded.size()) tighten(part.min, *numbers_.excluded[i], true, true);
    }
    return all;
  }

  const SchemaDocument& document_;
  SchemaBudget& budget_;
  const NumberConstraints& numbers_;
};

}  // namespace

bool NumberConstraints::within_bounds(const json::value& number) const {
  if (integer && type_of(number) != kIntegerType) return false;
  if (fraction && type_of(number) == kIntegerType) return false;
  if (min) {
    const auto order = compare_numbers(number, min->value);
    if (order < 0 || (min->exclusive && order == 0)) return false;
  }
  if (max) {
    const auto order = compare_numbers(number, max->value);
    if (order > 0 || (max->exclusive && order == 0)) return false;
  }
  return !std::ranges::binary_search(excluded, &number, smaller_number);
}

std::string canonical_number(const json::value& number) {
  std::string text = plain_number(number);
  if (text.size() <= 25) return text;
  return fmt::format("{}", number.get_double());  // only a double is that long
}

Result<NumberConstraints> numbers_of(const SchemaDocument& document,
                                     const Alternative& alternative) {
  NumberConstraints numbers;
  numbers.integer = (alternative.types & kNumberType) == kIntegerType;
  numbers.fraction = (alternative.types & kNumberType) == kFractionType;
  for (const Term& term : alternative.terms) {
    if (term.kind == Term::Kind::keywords) {
      TETRAD_TRY(add_keywords(document, *term.node, numbers));
    } else if (term.kind == Term::Kind::violates) {
      TETRAD_TRY(violate_bound(document, term, numbers));
    } else if (term.kind == Term::Kind::equals || term.kind == Term::Kind::numbers) {
      keep_numbers(term, numbers);
    } else if (term.kind == Term::Kind::not_equal && term.node->is_number()) {
      numbers.excluded.push_back(term.node);
    }
  }
  std::ranges::sort(numbers.excluded, smaller_number);
  if (numbers.finite) {
    std::erase_if(*numbers.finite,
                  [&](const json::value* value) { return !numbers.within_bounds(*value); });
  }
  return numbers;
}

Result<Automaton> number_automaton(const SchemaDocument& document, SchemaBudget& budget,
                                   const Alternative& alternative) {
  TETRAD_ASSIGN(NumberConstraints numbers, numbers_of(document, alternative));
  if (!numbers.finite) return InfiniteNumbers(document, budget, numbers).automaton();
  TETRAD_TRY(budget.spend(1 + numbers.finite->size()));
  for (const json::value& multiple : numbers.multiples_of) {
    TETRAD_ASSIGN(const Automaton texts,
                  number_texts({.multiple_of = multiple}, budget.limits().automata));
    std::erase_if(*numbers.finite,
                  [&](const json::value* value) { return !texts.contains(plain_number(*value)); });
  }
  std::vector<std::string> texts;
  for (const json::value* value : *numbers.finite)
    texts.push_back(canonical_number(*value));
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  return Automaton::any_of(views);
}

}  // namespace tetrad::grammar
