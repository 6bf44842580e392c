#pragma once

#include <unordered_set>

#include "grammar/schema_budget.h"
#include "grammar/schema_document.h"

namespace tetrad::grammar {

/// The schemas that a schema applies to the same value, itself among them: what they say of a key
/// or an item makes it an evaluated one, if they hold. Error at `keyword` if not all that hold are
/// known to the grammar, which of several options in "anyOf" chooses one.
Result<std::unordered_set<const json::value*>> evaluated_in_place(const SchemaDocument& document,
                                                                  SchemaBudget& budget,
                                                                  const json::value& schema,
                                                                  std::string_view keyword);

}  // namespace tetrad::grammar
