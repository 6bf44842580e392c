#include "grammar/tool_call_values.h"

#include <fmt/format.h>

#include <algorithm>

namespace tetrad::grammar {
namespace {

// Beyond, characters are counted by a list, which can't look at two of them at once.
constexpr int64_t kMaxCountedByAutomaton = 1000;

Result<NodeId> parameter_text_node(Builder& builder, const Automaton& automaton) {
  TETRAD_ASSIGN(ByteDfa dfa, encode(automaton, Encoding::utf8, {.max_states = 160'000}));
  return builder.text(std::make_shared<const ByteDfa>(std::move(dfa)));
}

/// What an alternative leaves of the types in `types`, as terms for JSON texts.
Terms structured_part(const Alternative& alternative, TypeMask types) {
  Terms terms = alternative.terms;
  terms.push_back(Term::of_types(types));
  return as_set(std::move(terms));
}

}  // namespace

Result<NodeId> free_parameter_text(Builder& builder) {
  TETRAD_ASSIGN(const Automaton texts, texts_without(kEndsOfValues, {}));
  return parameter_text_node(builder, texts);
}

Result<NodeId> ParameterTexts::texts_of(const Terms& terms, TypeMask types) {
  TETRAD_ASSIGN(const std::shared_ptr<const Ways> ways, compiler_.ways(terms));
  std::vector<NodeId> options;
  for (const Alternative& alternative : ways->alternatives)
    TETRAD_TRY(add(alternative, types, options));
  std::ranges::sort(options);
  options.erase(std::unique(options.begin(), options.end()), options.end());
  return options.size() == 1 ? options[0] : compiler_.builder().choice(std::move(options));
}

Result<void> ParameterTexts::add(const Alternative& alternative, TypeMask types,
                                 std::vector<NodeId>& options) {
  TypeMask as_json = alternative.types & types & static_cast<TypeMask>(~kStringType);
  // A number with a fraction is none where only integers are looked for.
  if ((types & kFractionType) == 0 && (alternative.types & kFractionType) != 0)
    as_json &= static_cast<TypeMask>(~kNumberType);
  if (as_json != 0) options.push_back(compiler_.values_of(structured_part(alternative, as_json)));
  if ((alternative.types & types & kStringType) == 0) return {};
  TETRAD_ASSIGN(const StringSet set, compiler_.strings().strings_of(alternative));
  TETRAD_ASSIGN(const NodeId node, raw_strings(set, types & static_cast<TypeMask>(~kStringType)));
  options.push_back(node);
  return {};
}

/// Texts that are taken for a value of one of the types, and some more.
Result<Automaton> ParameterTexts::looks_like(TypeMask types) {
  std::vector<std::string_view> looks;
  if ((types & kNullType) != 0) looks.emplace_back("[Nn][Uu][Ll][Ll]");
  if ((types & kBooleanType) != 0) looks.emplace_back("[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[01]");
  if ((types & kIntegerType) != 0) looks.emplace_back("[+\\-]?[0-9]+");
  if ((types & kFractionType) != 0)
    looks.emplace_back("[+\\-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+\\-]?[0-9]+)?");
  if ((types & (kArrayType | kObjectType)) != 0) looks.emplace_back("[\\[\\{][\\s\\S]*");
  constexpr std::string_view kSpace = "[ \\t\\n\\x0b\\f\\r]*";
  const std::string regex = fmt::format("{}({}){}", kSpace, fmt::join(looks, "|"), kSpace);
  return compiler_.strings().paid(parse_regex(regex, RegexMatch::whole, {}));
}

Result<NodeId> ParameterTexts::raw_strings(const StringSet& set, TypeMask others) {
  const bool is_free = !set.finite && !set.regular && !set.has_length();
  if (is_free && others == 0) return free_text_;
  const AutomatonLimits limits{.max_states = 8 * compiler_.budget().limits().automata.max_states};
  SchemaStrings& strings = compiler_.strings();
  const int64_t longest = std::max(set.min_length, set.max_length.value_or(0));
  if (!set.finite && !set.regular && others == 0 && longest > kMaxCountedByAutomaton)
    return long_strings(set);
  TETRAD_ASSIGN(Automaton texts, strings.to_automaton(set));
  if (const std::optional<Automaton>& allowed = compiler_.syntax().allowed) {
    TETRAD_ASSIGN(texts, strings.paid(texts.intersect(*allowed, limits)));
  }
  if (!is_free) {
    TETRAD_ASSIGN(const Automaton inside,
                  parse_regex("([^\\n]([\\s\\S]*[^\\n])?)?", RegexMatch::whole, limits));
    TETRAD_ASSIGN(texts, strings.paid(texts.intersect(inside, limits)));
  }
  if (others != 0) {
    TETRAD_ASSIGN(const Automaton taken, looks_like(others));
    TETRAD_ASSIGN(texts, strings.paid(texts.subtract(taken, limits)));
  }
  TETRAD_TRY(compiler_.budget().spend(100));
  return compiler_.text_node(texts, Encoding::utf8);
}

/// So long that an automaton that counts would be too large: without `<`, so that no closing tag
/// can come up. Newlines at the ends would not count.
Result<NodeId> ParameterTexts::long_strings(const StringSet& set) {
  Builder& builder = compiler_.builder();
  const auto node = [&](std::string_view regex) -> Result<NodeId> {
    TETRAD_ASSIGN(std::shared_ptr<const ByteDfa> dfa, bytes_of_regex(regex, {}));
    return builder.text(std::move(dfa));
  };
  TETRAD_ASSIGN(const NodeId edge, node("[^<\\n]"));
  TETRAD_ASSIGN(const NodeId inner, node("[^<]"));
  const int64_t max = set.max_length.value_or(kUnbounded);
  std::vector<NodeId> options;
  if (set.min_length == 0) options.push_back(builder.empty());
  if (set.min_length <= 1 && max >= 1) options.push_back(edge);
  if (max >= 2) {
    const NodeId middle = builder.repeat(inner, std::max<int64_t>(set.min_length - 2, 0),
                                         max == kUnbounded ? kUnbounded : max - 2);
    options.push_back(builder.sequence({edge, middle, edge}));
  }
  return builder.choice(std::move(options));
}

}  // namespace tetrad::grammar
