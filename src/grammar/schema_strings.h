#pragma once

// The strings that an alternative allows.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/schema_budget.h"
#include "grammar/schema_document.h"
#include "grammar/schema_terms.h"

namespace tetrad::grammar {

/// A string is in the set if all parts say so; parts that are missing say nothing.
struct StringSet {
  /// Ascending; then nothing else is left to look at.
  std::optional<std::vector<std::string_view>> finite;
  std::optional<Automaton> regular;
  int64_t min_length = 0;  // in code points
  std::optional<int64_t> max_length;

  bool has_length() const { return min_length > 0 || max_length.has_value(); }
};

class SchemaStrings {
 public:
  SchemaStrings(const SchemaDocument& document, SchemaBudget& budget)
      : document_(document), budget_(budget) {}

  Result<StringSet> strings_of(const Alternative& alternative);

  /// The whole set, lengths and all, as one automaton.
  Result<Automaton> to_automaton(const StringSet& set);

  /// The texts that a pattern finds something in; `node`, `keyword`: where it stands, for errors.
  Result<Automaton> pattern(std::string_view pattern, const json::value& node,
                            std::string_view keyword);

  /// The work of an automaton that was made.
  Result<Automaton> paid(Result<Automaton> made);

 private:
  Result<void> restrict(StringSet& set, const json::value& schema);
  Result<void> violate(StringSet& set, const json::value& schema, std::string_view keyword);
  Result<void> meet(StringSet& set, const Automaton& other);
  Result<std::optional<Automaton>> format(const json::value& schema);
  Result<void> filter_finite(StringSet& set);

  const SchemaDocument& document_;
  SchemaBudget& budget_;
  std::map<std::string, Automaton, std::less<>> patterns_;
  std::map<std::string, std::optional<Automaton>, std::less<>> formats_;
};

}  // namespace tetrad::grammar
