#include "grammar/schema_strings.h"

#include <algorithm>
#include <unordered_set>

#include "grammar/code_point_dfa.h"
#include "grammar/schema_formats.h"
#include "grammar/schema_keywords.h"

namespace tetrad::grammar {
namespace {

int64_t num_code_points(std::string_view text) {
  return std::ranges::count_if(
      text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; });
}

/// The strings that a term lists; `of`: strings or equals.
std::vector<std::string_view> listed_strings(const Term& term) {
  if (term.kind == Term::Kind::equals) return {term.node->get_string()};
  std::vector<std::string_view> strings;
  for (const json::value& value : term.node->get_array()) {
    if (value.is_string()) strings.emplace_back(value.get_string());
  }
  return strings;
}

void keep_only(StringSet& set, const std::vector<std::string_view>& strings) {
  if (!set.finite) {
    std::vector<std::string_view> all = strings;
    std::ranges::sort(all);
    all.erase(std::unique(all.begin(), all.end()), all.end());
    set.finite = std::move(all);
    return;
  }
  const std::unordered_set<std::string_view> kept(strings.begin(), strings.end());
  std::erase_if(*set.finite, [&](std::string_view text) { return !kept.contains(text); });
}

}  // namespace

Result<Automaton> SchemaStrings::paid(Result<Automaton> made) {
  if (!made) return made;
  const CodePointDfa& dfa = made->impl().dfa;
  TETRAD_TRY(budget_.spend(100 + 30 * dfa.num_states() + 10 * dfa.num_edges()));
  return made;
}

Result<Automaton> SchemaStrings::pattern(std::string_view pattern, const json::value& node,
                                         std::string_view keyword) {
  if (const auto known = patterns_.find(pattern); known != patterns_.end()) return known->second;
  TETRAD_TRY(budget_.spend(500 + 50 * pattern.size()));
  Result<Automaton> made = parse_regex(pattern, RegexMatch::search, budget_.limits().automata);
  if (!made) return document_.fail_at(node, keyword, std::move(made.error()));
  TETRAD_ASSIGN(Automaton automaton, paid(std::move(made)));
  patterns_.emplace(pattern, automaton);
  return automaton;
}

Result<std::optional<Automaton>> SchemaStrings::format(const json::value& schema) {
  TETRAD_ASSIGN(const json::string* name, string_member(document_, schema, "format"));
  if (name == nullptr) return std::nullopt;
  const std::string_view text(*name);
  if (const auto known = formats_.find(text); known != formats_.end()) return known->second;
  std::optional<Automaton> automaton;
  if (auto texts = format_texts(text)) {
    TETRAD_ASSIGN(automaton, paid(std::move(*texts)));
  }
  formats_.emplace(text, automaton);
  return automaton;
}

Result<void> SchemaStrings::meet(StringSet& set, const Automaton& other) {
  if (!set.regular) {
    set.regular = other;
    return {};
  }
  TETRAD_ASSIGN(set.regular, paid(set.regular->intersect(other, budget_.limits().automata)));
  return {};
}

Result<void> SchemaStrings::restrict(StringSet& set, const json::value& schema) {
  TETRAD_ASSIGN(const auto min, count_member(document_, schema, "minLength"));
  TETRAD_ASSIGN(const auto max, count_member(document_, schema, "maxLength"));
  if (min) set.min_length = std::max(set.min_length, *min);
  if (max) set.max_length = std::min(set.max_length.value_or(*max), *max);
  TETRAD_ASSIGN(const json::string* text, string_member(document_, schema, "pattern"));
  if (text != nullptr) {
    TETRAD_ASSIGN(const Automaton found, pattern(*text, schema, "pattern"));
    Result<void> met = meet(set, found);
    if (!met) return document_.fail_at(schema, "pattern", std::move(met.error()));
  }
  TETRAD_ASSIGN(const std::optional<Automaton> texts, format(schema));
  if (texts) {
    Result<void> met = meet(set, *texts);
    if (!met) return document_.fail_at(schema, "format", std::move(met.error()));
  }
  return {};
}

/// Strings that do not satisfy one keyword.
Result<void> SchemaStrings::violate(StringSet& set, const json::value& schema,
                                    std::string_view keyword) {
  if (keyword == "pattern") {
    TETRAD_ASSIGN(const json::string* text, string_member(document_, schema, keyword));
    TETRAD_ASSIGN(const Automaton found, pattern(*text, schema, keyword));
    const Automaton all = set.regular.value_or(Automaton::any());
    TETRAD_ASSIGN(set.regular, paid(all.subtract(found, budget_.limits().automata)));
    return {};
  }
  TETRAD_ASSIGN(const int64_t count, present_count(document_, schema, keyword));
  if (keyword == "maxLength") {
    set.min_length = std::max(set.min_length, count + 1);
  } else if (keyword == "minLength" && count > 0) {
    set.max_length = std::min(set.max_length.value_or(count - 1), count - 1);
  } else {
    set.finite.emplace();  // nothing is shorter than nothing
  }
  return {};
}

Result<void> SchemaStrings::filter_finite(StringSet& set) {
  if (!set.finite) return {};
  TETRAD_TRY(budget_.spend(set.finite->size()));
  std::erase_if(*set.finite, [&](std::string_view text) {
    const int64_t length = num_code_points(text);
    return length < set.min_length || (set.max_length && length > *set.max_length) ||
           (set.regular && !set.regular->contains(text));
  });
  return {};
}

Result<StringSet> SchemaStrings::strings_of(const Alternative& alternative) {
  StringSet set;
  std::vector<std::string_view> excluded;
  for (const Term& term : alternative.terms) {
    switch (term.kind) {
      case Term::Kind::keywords:
        TETRAD_TRY(restrict(set, *term.node));
        break;
      case Term::Kind::violates:
        TETRAD_TRY(violate(set, *term.node, term.key));
        break;
      case Term::Kind::equals:
      case Term::Kind::strings:
        keep_only(set, listed_strings(term));
        break;
      case Term::Kind::not_equal:
        if (term.node->is_string()) excluded.emplace_back(term.node->get_string());
        break;
      default:
        break;
    }
  }
  if (!excluded.empty()) {
    const Automaton others = Automaton::any_of(excluded);
    const Automaton all = set.regular.value_or(Automaton::any());
    TETRAD_ASSIGN(set.regular, paid(all.subtract(others, budget_.limits().automata)));
  }
  TETRAD_TRY(filter_finite(set));
  return set;
}

Result<Automaton> SchemaStrings::to_automaton(const StringSet& set) {
  if (set.finite) return paid(Automaton::any_of(*set.finite));
  if (!set.has_length()) return set.regular.value_or(Automaton::any());
  const AutomatonLimits limits = budget_.limits().automata;
  TETRAD_ASSIGN(Automaton lengths, paid(Automaton::length(set.min_length, set.max_length, limits)));
  if (!set.regular) return lengths;
  return paid(set.regular->intersect(lengths, limits));
}

}  // namespace tetrad::grammar
