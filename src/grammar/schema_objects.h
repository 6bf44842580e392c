#pragma once

// The objects that an alternative allows: which keys there may be, and what their values are.

#include <optional>
#include <string_view>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/schema_normalizer.h"
#include "grammar/schema_strings.h"

namespace tetrad::grammar {

/// What the value of a key has to satisfy; none: the key must not be there.
using KeyValue = std::optional<Terms>;

/// What one conjunct says of keys.
struct KeyRule {
  struct Pattern {
    int32_t pattern = 0;  // place in ObjectShape::patterns
    const json::value* schema = nullptr;
  };
  const json::value* schema = nullptr;       // where it comes from
  const json::object* properties = nullptr;  // schemas …
  bool properties_are_values = false;        // … or, from "const", the values themselves
  std::vector<Pattern> patterns;
  const json::value* additional = nullptr;  // for all other keys
  bool closed = false;                      // there are no other keys
  /// For unevaluatedProperties: the places of the rules whose keys are not `additional` either.
  std::vector<size_t> covered_by;

  bool names(std::optional<std::string_view> key, const std::vector<int32_t>& matching) const;
};

struct ObjectShape {
  struct Property {
    std::string_view key;
    KeyValue value;
    bool required = false;
  };
  /// Keys that are told one by one.
  std::vector<Property> properties;
  std::vector<KeyRule> rules;
  /// The patterns by which the values of all other keys differ.
  std::vector<Automaton> patterns;
  /// Whether there may be keys that are not among `properties` …
  bool has_others = true;
  /// … and that match no pattern either.
  bool open = false;
  /// What all other keys have to be among; none: anything.
  std::optional<Automaton> names;
  int64_t min_properties = 0;
  std::optional<int64_t> max_properties;
  /// The terms that keys have to satisfy themselves.
  Terms name_terms;

  /// The value of a key, or of one that no rule names; `matching`: the patterns that match it,
  /// ascending.
  KeyValue value_of(std::optional<std::string_view> key,
                    const std::vector<int32_t>& matching) const;
};

/// Errors: keywords that no grammar can follow, named.
Result<ObjectShape> objects_of(const SchemaDocument& document, SchemaBudget& budget,
                               SchemaNormalizer& normalizer, SchemaStrings& strings,
                               const Alternative& alternative);

}  // namespace tetrad::grammar
