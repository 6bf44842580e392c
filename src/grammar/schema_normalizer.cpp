#include "grammar/schema_normalizer.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include "grammar/schema_keywords.h"
#include "grammar/schema_negation.h"

namespace tetrad::grammar {
namespace {

/// What an "enum" leaves open: all its strings at once, all its numbers at once, each of the
/// others.
std::vector<Terms> enum_options(const json::value& values) {
  std::vector<Terms> options;
  TypeMask literals = 0;
  bool has_strings = false;
  bool has_numbers = false;
  for (const json::value& value : values.get_array()) {
    if (value.is_string()) {
      has_strings = true;
    } else if (value.is_number()) {
      has_numbers = true;
    } else if (value.is_structured()) {
      options.push_back({Term::of(Term::Kind::equals, value)});
    } else {
      literals |= type_of(value);
    }
  }
  if (literals != 0) options.push_back({Term::of_types(literals)});
  if (has_strings) options.push_back({Term::of(Term::Kind::strings, values)});
  if (has_numbers) options.push_back({Term::of(Term::Kind::numbers, values)});
  return options;
}

}  // namespace

struct SchemaNormalizer::Group {
  std::vector<Terms> options;
  const json::value* exclusive = nullptr;  // the schema with the "oneOf" that this is
};

/// A conjunction on its way to alternatives.
struct SchemaNormalizer::Partial {
  Alternative result;
  std::vector<Term> pending;  // from the last to the first
  Terms seen;                 // sorted
  std::vector<std::shared_ptr<const Group>> groups;

  void enqueue(const Terms& terms) { pending.insert(pending.end(), terms.rbegin(), terms.rend()); }
  void choose(std::vector<Terms> options, const json::value* exclusive = nullptr) {
    groups.push_back(std::make_shared<Group>(Group{std::move(options), exclusive}));
  }
};

Terms as_set(Terms terms) {
  std::ranges::sort(terms);
  terms.erase(std::unique(terms.begin(), terms.end()), terms.end());
  return terms;
}

Result<std::shared_ptr<const Ways>> SchemaNormalizer::ways(const Terms& terms) {
  if (const auto found = known_.find(terms); found != known_.end()) return found->second;
  auto ways = std::make_shared<Ways>();
  std::vector<Partial> partials(1);
  partials[0].enqueue(terms);
  while (!partials.empty()) {
    Partial partial = std::move(partials.back());
    partials.pop_back();
    TETRAD_TRY(expand(partial));
    if (partial.result.types == 0) continue;
    if (partial.groups.empty()) {
      ways->alternatives.push_back(std::move(partial.result));
      continue;
    }
    const std::shared_ptr<const Group> group = partial.groups.back();
    partial.groups.pop_back();
    if (group->exclusive != nullptr) {
      Terms context = partial.result.terms;
      context.push_back(Term::of_types(partial.result.types));
      ways->exclusive.push_back({group->exclusive, std::move(context)});
    }
    // Copies take memory too.
    TETRAD_TRY(budget_.spend(8 * group->options.size() * (partial.seen.size() + 4)));
    if (partials.size() + group->options.size() > budget_.limits().max_alternatives)
      return fail_param(budget_.param(),
                        "\"{}\" leaves more than {} combinations of options open in one place",
                        budget_.param(), budget_.limits().max_alternatives);
    for (const Terms& option : std::views::reverse(group->options)) {
      partials.push_back(partial);
      partials.back().enqueue(option);
    }
  }
  known_.emplace(terms, ways);
  return ways;
}

Result<void> SchemaNormalizer::expand(Partial& partial) {
  while (!partial.pending.empty() && partial.result.types != 0) {
    const Term term = partial.pending.back();
    partial.pending.pop_back();
    const auto place = std::ranges::lower_bound(partial.seen, term);
    if (place != partial.seen.end() && *place == term) continue;
    partial.seen.insert(place, term);
    TETRAD_TRY(budget_.spend(1));
    TETRAD_TRY(add(partial, term));
  }
  return {};
}

Result<void> SchemaNormalizer::add(Partial& partial, const Term& term) {
  TypeMask& types = partial.result.types;
  switch (term.kind) {
    case Term::Kind::schema:
      TETRAD_TRY(check_for_loop(*term.node));
      return add_schema(partial, *term.node);
    case Term::Kind::not_schema:
      TETRAD_TRY(check_for_loop(*term.node));
      return add_negation(partial, *term.node);
    case Term::Kind::types:
      types &= term.types;
      return {};
    case Term::Kind::equals:
      types &= type_of(*term.node);
      break;
    case Term::Kind::strings:
      types &= kStringType;
      break;
    case Term::Kind::numbers:
      types &= kNumberType;
      break;
    case Term::Kind::not_equal:
      if ((type_of(*term.node) & kLiteralType) != 0)
        types &= static_cast<TypeMask>(~type_of(*term.node));
      break;
    case Term::Kind::not_in:
      for (const json::value& value : term.node->get_array())
        partial.enqueue({Term::of(Term::Kind::not_equal, value)});
      return {};
    case Term::Kind::keywords: {
      TETRAD_ASSIGN(const TypeMask own_types, types_member(document_, *term.node));
      types &= own_types;
      break;
    }
    case Term::Kind::requires_key:
    case Term::Kind::forbids_key:
    case Term::Kind::property_not:
    case Term::Kind::violates:
      break;
  }
  partial.result.terms.push_back(term);
  return {};
}

Result<void> SchemaNormalizer::add_schema(Partial& partial, const json::value& node) {
  if (const bool* value = node.if_bool()) {
    if (!*value) partial.result.types = 0;
    return {};
  }
  if (!node.is_object())
    return document_.fail_at(node, "", "must be a schema: an object or a boolean, not {}",
                             json_kind_name(node));
  TETRAD_ASSIGN(const json::string* ref, string_member(document_, node, "$ref"));
  if (ref != nullptr) {
    TETRAD_ASSIGN(const json::value* target, document_.resolve(node, *ref));
    partial.enqueue({Term::schema(*target)});
    if (document_.ref_hides_siblings()) return {};
  }
  if (const json::value* value = schema_member(node, "const"))
    partial.enqueue({Term::of(Term::Kind::equals, *value)});
  TETRAD_ASSIGN(const json::array* values, array_member(document_, node, "enum"));
  if (values != nullptr) {
    TETRAD_TRY(budget_.spend(values->size()));
    partial.choose(enum_options(*schema_member(node, "enum")));
  }
  partial.enqueue({Term::of(Term::Kind::keywords, node)});
  return add_applicators(partial, node);
}

Result<void> SchemaNormalizer::add_applicators(Partial& partial, const json::value& node) {
  for (const std::string_view keyword : {"$dynamicRef", "$recursiveRef"}) {
    if (schema_member(node, keyword) != nullptr)
      return document_.fail_at(node, keyword, "is not supported; use \"$ref\"");
  }
  TETRAD_ASSIGN(const json::array* all, array_member(document_, node, "allOf"));
  if (all != nullptr) {
    Terms terms;
    for (const json::value& schema : *all)
      terms.push_back(Term::schema(schema));
    partial.enqueue(terms);
  }
  TETRAD_TRY(add_options(partial, node));
  if (const json::value* negated = schema_member(node, "not"))
    partial.enqueue({Term::of(Term::Kind::not_schema, *negated)});
  TETRAD_ASSIGN(std::vector<std::vector<Terms>> conditions, conditional_options(document_, node));
  for (std::vector<Terms>& options : conditions)
    partial.choose(std::move(options));
  return {};
}

Result<void> SchemaNormalizer::add_options(Partial& partial, const json::value& node) const {
  for (const std::string_view keyword : {"anyOf", "oneOf"}) {
    TETRAD_ASSIGN(const json::array* schemas, array_member(document_, node, keyword));
    if (schemas == nullptr) continue;
    const bool one_only = keyword == "oneOf" && schemas->size() > 1;
    const bool negate = one_only && excludes_by_negation(node);
    if (negate) TETRAD_TRY(budget_.spend(schemas->size() * schemas->size()));
    std::vector<Terms> options;
    for (const json::value& schema : *schemas) {
      options.push_back({Term::schema(schema)});
      if (!negate) continue;
      for (const json::value& other : *schemas) {
        if (&other != &schema) options.back().push_back(Term::of(Term::Kind::not_schema, other));
      }
    }
    partial.choose(std::move(options), one_only && !negate ? &node : nullptr);
  }
  return {};
}

void SchemaNormalizer::exclude_by_negation(const json::value& holder) {
  by_negation_.insert(&holder);
  known_.clear();
}

Result<void> SchemaNormalizer::add_negation(Partial& partial, const json::value& node) {
  if (const bool* value = node.if_bool()) {
    if (*value) partial.result.types = 0;
    return {};
  }
  TETRAD_ASSIGN(std::vector<Terms> options, negated_options(document_, node));
  partial.choose(std::move(options));
  return {};
}

Result<std::vector<const json::value*>> SchemaNormalizer::in_place(const json::value& node) const {
  std::vector<const json::value*> found;
  const json::object* schema = node.if_object();
  if (schema == nullptr) return found;
  TETRAD_ASSIGN(const json::string* ref, string_member(document_, node, "$ref"));
  if (ref != nullptr) {
    TETRAD_ASSIGN(const json::value* target, document_.resolve(node, *ref));
    found.push_back(target);
    if (document_.ref_hides_siblings()) return found;
  }
  for (const std::string_view keyword : {"allOf", "anyOf", "oneOf"}) {
    TETRAD_ASSIGN(const json::array* schemas, array_member(document_, node, keyword));
    if (schemas == nullptr) continue;
    for (const json::value& element : *schemas)
      found.push_back(&element);
  }
  for (const std::string_view keyword : {"not", "if", "then", "else"}) {
    if (const json::value* member = schema->if_contains(keyword)) found.push_back(member);
  }
  for (const std::string_view keyword : {"dependentSchemas", "dependencies"}) {
    TETRAD_ASSIGN(const json::object* schemas, object_member(document_, node, keyword));
    if (schemas == nullptr) continue;
    for (const auto& [key, member] : *schemas)
      found.push_back(&member);
  }
  return found;
}

/// A schema that applies itself to the same value has no meaning, and no end.
Result<void> SchemaNormalizer::check_for_loop(const json::value& node) {
  if (free_of_loops_.contains(&node)) return {};
  struct Visit {
    const json::value* node;
    std::vector<const json::value*> next;
  };
  std::vector<Visit> path;
  std::unordered_set<const json::value*> on_path;
  const auto enter = [&](const json::value* entered) -> Result<void> {
    TETRAD_ASSIGN(std::vector<const json::value*> next, in_place(*entered));
    TETRAD_TRY(budget_.spend(next.size() + 1));
    on_path.insert(entered);
    path.push_back({entered, std::move(next)});
    return {};
  };
  TETRAD_TRY(enter(&node));
  while (!path.empty()) {
    Visit& visit = path.back();
    if (visit.next.empty()) {
      free_of_loops_.insert(visit.node);
      on_path.erase(visit.node);
      path.pop_back();
      continue;
    }
    const json::value* next = visit.next.back();
    visit.next.pop_back();
    if (on_path.contains(next))
      return document_.fail_at(*next, "",
                               "refers to itself for the same value, so that it has no meaning");
    if (!free_of_loops_.contains(next)) TETRAD_TRY(enter(next));
  }
  return {};
}

}  // namespace tetrad::grammar
