#include "grammar/schema_objects.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "grammar/schema_keywords.h"
#include "grammar/schema_unevaluated.h"

namespace tetrad::grammar {
namespace {

class ObjectReader {
 public:
  ObjectReader(const SchemaDocument& document, SchemaBudget& budget, SchemaNormalizer& normalizer,
               SchemaStrings& strings)
      : document_(document), budget_(budget), normalizer_(normalizer), strings_(strings) {}

  Result<ObjectShape> read(const Alternative& alternative) {
    for (const Term& term : alternative.terms)
      TETRAD_TRY(add_term(term));
    TETRAD_TRY(add_unevaluated());
    TETRAD_TRY(restrict_names());
    TETRAD_TRY(find_values());
    shape_.open = shape_.open && shape_.value_of(std::nullopt, {}).has_value();
    shape_.has_others = shape_.open || (shape_.has_others && !shape_.patterns.empty());
    TETRAD_TRY(check_min_properties());
    return std::move(shape_);
  }

 private:
  struct KeyNote {
    size_t place;
    bool forbidden = false;
    Terms more;  // beside what the rules say
  };

  KeyNote& note(std::string_view key) {
    const auto [found, added] = notes_.try_emplace(key, KeyNote{shape_.properties.size()});
    if (added) shape_.properties.push_back({.key = key});
    return found->second;
  }
  void require(std::string_view key) { shape_.properties[note(key).place].required = true; }

  Result<void> add_term(const Term& term);
  Result<void> add_keywords(const json::value& node);
  void narrow(const json::value& node, std::optional<int64_t> min, std::optional<int64_t> max);
  Result<void> add_patterns(const json::value& node, KeyRule& rule);
  Result<void> add_unevaluated();
  Result<void> restrict_names();
  Result<void> find_values();
  Result<void> check_min_properties();

  const SchemaDocument& document_;
  SchemaBudget& budget_;
  SchemaNormalizer& normalizer_;
  SchemaStrings& strings_;
  ObjectShape shape_{.open = true};
  std::unordered_map<std::string_view, KeyNote> notes_;
  std::unordered_map<std::string_view, int32_t> pattern_places_;
  const json::value* min_properties_at_ = nullptr;
};

Result<void> ObjectReader::add_term(const Term& term) {
  switch (term.kind) {
    case Term::Kind::keywords:
      return add_keywords(*term.node);
    case Term::Kind::equals: {
      const json::object& value = term.node->get_object();
      TETRAD_TRY(budget_.spend(value.size() + 1));
      for (const auto& [key, member] : value)
        require(key);
      shape_.rules.push_back({.properties = &value, .properties_are_values = true, .closed = true});
      return {};
    }
    case Term::Kind::not_equal:
      if (term.node->is_object())
        return document_.fail_at(*term.node, "",
                                 "can't be excluded: only strings, numbers, booleans and "
                                 "null can");
      return {};
    case Term::Kind::violates: {
      TETRAD_ASSIGN(const int64_t count, present_count(document_, *term.node, term.key));
      const bool is_max = term.key == "maxProperties";
      // Fewer than none is no number of properties, so that a bound above it leaves nothing.
      narrow(*term.node,
             is_max       ? count + 1
             : count == 0 ? 1
                          : 0,
             is_max ? std::nullopt : std::optional(std::max<int64_t>(count - 1, 0)));
      return {};
    }
    case Term::Kind::requires_key:
      require(term.key);
      return {};
    case Term::Kind::forbids_key:
      note(term.key).forbidden = true;
      return {};
    case Term::Kind::property_not:
      note(term.key).more.push_back(Term::of(Term::Kind::not_schema, *term.node));
      return {};
    default:
      return {};
  }
}

void ObjectReader::narrow(const json::value& node, std::optional<int64_t> min,
                          std::optional<int64_t> max) {
  if (min && *min > shape_.min_properties) {
    shape_.min_properties = *min;
    min_properties_at_ = &node;
  }
  if (max) shape_.max_properties = std::min(shape_.max_properties.value_or(*max), *max);
}

Result<void> ObjectReader::add_patterns(const json::value& node, KeyRule& rule) {
  TETRAD_ASSIGN(const json::object* patterns, object_member(document_, node, "patternProperties"));
  if (patterns == nullptr) return {};
  const json::value& holder = *schema_member(node, "patternProperties");
  for (const auto& [key, schema] : *patterns) {
    const std::string_view regex(key);
    const auto [place, added] =
        pattern_places_.try_emplace(regex, static_cast<int32_t>(shape_.patterns.size()));
    if (added) {
      TETRAD_ASSIGN(Automaton automaton, strings_.pattern(regex, holder, regex));
      shape_.patterns.push_back(std::move(automaton));
    }
    rule.patterns.push_back({place->second, &schema});
  }
  return {};
}

Result<void> ObjectReader::add_keywords(const json::value& node) {
  TETRAD_ASSIGN(const auto min, count_member(document_, node, "minProperties"));
  TETRAD_ASSIGN(const auto max, count_member(document_, node, "maxProperties"));
  narrow(node, min, max);
  KeyRule rule{.schema = &node};
  TETRAD_ASSIGN(rule.properties, object_member(document_, node, "properties"));
  if (rule.properties != nullptr) {
    TETRAD_TRY(budget_.spend(rule.properties->size()));
    for (const auto& [key, schema] : *rule.properties)
      note(key);
  }
  TETRAD_ASSIGN(const json::array* required, names_member(document_, node, "required"));
  if (required != nullptr) {
    for (const json::value& name : *required)
      require(name.get_string());
  }
  TETRAD_TRY(add_patterns(node, rule));
  rule.additional = schema_member(node, "additionalProperties");
  if (const json::value* names = schema_member(node, "propertyNames"))
    shape_.name_terms.push_back(Term::schema(*names));
  shape_.rules.push_back(std::move(rule));
  return {};
}

Result<void> ObjectReader::add_unevaluated() {
  const size_t num_rules = shape_.rules.size();
  for (size_t i = 0; i < num_rules; ++i) {
    const json::value* schema = shape_.rules[i].schema;
    const json::value* additional =
        schema == nullptr ? nullptr : schema_member(*schema, "unevaluatedProperties");
    if (additional == nullptr || is_true_schema(*additional)) continue;
    TETRAD_ASSIGN(const auto inside,
                  evaluated_in_place(document_, budget_, *schema, "unevaluatedProperties"));
    KeyRule rule{.additional = additional};
    for (size_t k = 0; k < num_rules; ++k) {
      if (inside.contains(shape_.rules[k].schema)) rule.covered_by.push_back(k);
    }
    shape_.rules.push_back(std::move(rule));
  }
  return {};
}

/// "propertyNames": a list of names becomes properties, everything else a set that keys are in.
Result<void> ObjectReader::restrict_names() {
  if (shape_.name_terms.empty()) return {};
  shape_.name_terms = as_set(std::move(shape_.name_terms));
  TETRAD_ASSIGN(const auto ways, normalizer_.ways(shape_.name_terms));
  Automaton names = Automaton::none();
  bool all_finite = true;
  std::unordered_set<std::string_view> listed;
  for (const Alternative& alternative : ways->alternatives) {
    if ((alternative.types & kStringType) == 0) continue;
    TETRAD_ASSIGN(const StringSet set, strings_.strings_of(alternative));
    all_finite = all_finite && set.finite.has_value();
    if (set.finite) listed.insert(set.finite->begin(), set.finite->end());
    TETRAD_ASSIGN(const Automaton some, strings_.to_automaton(set));
    TETRAD_ASSIGN(names, strings_.paid(names.unite(some, budget_.limits().automata)));
  }
  if (all_finite) {
    for (const std::string_view name : listed)
      note(name);
    shape_.open = false;
    shape_.has_others = false;
  }
  for (ObjectShape::Property& property : shape_.properties) {
    const bool allowed = all_finite ? listed.contains(property.key) : names.contains(property.key);
    if (!allowed) note(property.key).forbidden = true;
  }
  shape_.names = std::move(names);
  return {};
}

Result<void> ObjectReader::find_values() {
  const std::vector<Automaton>& patterns = shape_.patterns;
  TETRAD_TRY(budget_.spend(shape_.properties.size() * (patterns.size() + shape_.rules.size())));
  for (ObjectShape::Property& property : shape_.properties) {
    std::vector<int32_t> matching;
    for (size_t i = 0; i < patterns.size(); ++i) {
      if (patterns[i].contains(property.key)) matching.push_back(static_cast<int32_t>(i));
    }
    const KeyNote& notes = note(property.key);
    if (notes.forbidden) continue;
    property.value = shape_.value_of(property.key, matching);
    if (!property.value) continue;
    property.value->insert(property.value->end(), notes.more.begin(), notes.more.end());
    property.value = as_set(std::move(*property.value));
  }
  return {};
}

/// Keys that are not told apart may come twice, which makes one property of two members.
Result<void> ObjectReader::check_min_properties() {
  if (!shape_.has_others) return {};
  const auto num_required = std::ranges::count_if(
      shape_.properties, [](const ObjectShape::Property& property) { return property.required; });
  if (shape_.min_properties <= num_required + 1) return {};
  return document_.fail_at(*min_properties_at_, "minProperties",
                           "above 1 is only supported where all properties have names: with "
                           "\"additionalProperties\": false, or enough of them \"required\"");
}

}  // namespace

bool KeyRule::names(std::optional<std::string_view> key,
                    const std::vector<int32_t>& matching) const {
  return additional != nullptr || closed ||
         (key && properties != nullptr && properties->contains(*key)) ||
         std::ranges::any_of(patterns, [&](const Pattern& pattern) {
           return std::ranges::binary_search(matching, pattern.pattern);
         });
}

KeyValue ObjectShape::value_of(std::optional<std::string_view> key,
                               const std::vector<int32_t>& matching) const {
  Terms terms;
  bool possible = true;
  const auto add = [&](const json::value& schema) {
    if (is_false_schema(schema)) possible = false;
    if (!is_true_schema(schema)) terms.push_back(Term::schema(schema));
  };
  for (const KeyRule& rule : rules) {
    bool named = std::ranges::any_of(
        rule.covered_by, [&](size_t place) { return rules[place].names(key, matching); });
    const json::value* property =
        !key || rule.properties == nullptr ? nullptr : rule.properties->if_contains(*key);
    if (property != nullptr) {
      named = true;
      if (rule.properties_are_values) {
        terms.push_back(Term::of(Term::Kind::equals, *property));
      } else {
        add(*property);
      }
    }
    for (const KeyRule::Pattern& pattern : rule.patterns) {
      if (!std::ranges::binary_search(matching, pattern.pattern)) continue;
      named = true;
      add(*pattern.schema);
    }
    if (named) continue;
    if (rule.closed) possible = false;
    if (rule.additional != nullptr) add(*rule.additional);
  }
  if (!possible) return std::nullopt;
  return as_set(std::move(terms));
}

Result<ObjectShape> objects_of(const SchemaDocument& document, SchemaBudget& budget,
                               SchemaNormalizer& normalizer, SchemaStrings& strings,
                               const Alternative& alternative) {
  return ObjectReader(document, budget, normalizer, strings).read(alternative);
}

}  // namespace tetrad::grammar
