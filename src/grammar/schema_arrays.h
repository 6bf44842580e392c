#pragma once

// The arrays that an alternative allows.

#include <optional>
#include <vector>

#include "grammar/schema_budget.h"
#include "grammar/schema_document.h"
#include "grammar/schema_terms.h"

namespace tetrad::grammar {

/// What an item has to satisfy; none: there is no such item.
using ItemValue = std::optional<Terms>;

struct ArrayShape {
  std::vector<ItemValue> prefix;
  ItemValue rest;
  int64_t min_items = 0;
  std::optional<int64_t> max_items;
  /// The schema that asks for items that differ; null: they need not.
  const json::value* unique_at = nullptr;
  /// What at least one item has to satisfy. Then there is no prefix and no bound but "not empty".
  const json::value* contains = nullptr;
};

/// Errors: keywords that no grammar can follow, named.
Result<ArrayShape> arrays_of(const SchemaDocument& document, SchemaBudget& budget,
                             const Alternative& alternative);

}  // namespace tetrad::grammar
