#pragma once

// The numbers that an alternative allows.

#include <optional>
#include <string>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/number_set.h"
#include "grammar/schema_budget.h"
#include "grammar/schema_document.h"
#include "grammar/schema_terms.h"

namespace tetrad::grammar {

struct NumberConstraints {
  std::optional<std::vector<const json::value*>> finite;
  std::optional<NumberBound> min;
  std::optional<NumberBound> max;
  std::vector<json::value> multiples_of;
  const json::value* at = nullptr;           // the schema of the last of them
  std::vector<const json::value*> excluded;  // ascending
  bool integer = false;
  bool fraction = false;  // no integers

  bool within_bounds(const json::value& number) const;
};

Result<NumberConstraints> numbers_of(const SchemaDocument& document,
                                     const Alternative& alternative);

/// Errors: what number_texts() refuses.
Result<Automaton> number_automaton(const SchemaDocument& document, SchemaBudget& budget,
                                   const Alternative& alternative);

/// The one text of a number that enum and const are written with.
std::string canonical_number(const json::value& number);

}  // namespace tetrad::grammar
