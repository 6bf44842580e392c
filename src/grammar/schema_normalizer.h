#pragma once

// From conjunctions of schemas to alternatives: what remains when $ref, allOf, anyOf, oneOf, not,
// if, enum, const and the dependent… keywords have had their effect.

#include <map>
#include <memory>
#include <optional>
#include <unordered_set>
#include <vector>

#include "grammar/schema_budget.h"
#include "grammar/schema_document.h"
#include "grammar/schema_terms.h"

namespace tetrad::grammar {

/// A "oneOf" that is treated as anyOf, which is right if no value satisfies two of its options.
struct ExclusiveOptions {
  const json::value* holder = nullptr;  // the schema that has the "oneOf"
  Terms context;                        // what else holds there
};

struct Ways {
  /// A value satisfies the terms exactly if it satisfies one of these.
  std::vector<Alternative> alternatives;
  /// Provided that all of these are exclusive.
  std::vector<ExclusiveOptions> exclusive;
};

class SchemaNormalizer {
 public:
  SchemaNormalizer(const SchemaDocument& document, SchemaBudget& budget)
      : document_(document), budget_(budget) {}

  /// `terms`: sorted, without repetitions. The same terms give the same object.
  Result<std::shared_ptr<const Ways>> ways(const Terms& terms);

  /// From now on the options of this schema's "oneOf" exclude each other by the negation of all
  /// others in each. Forgets all ways.
  void exclude_by_negation(const json::value& holder);
  bool excludes_by_negation(const json::value& holder) const {
    return by_negation_.contains(&holder);
  }

 private:
  struct Group;
  struct Partial;

  Result<void> expand(Partial& partial);
  Result<void> add(Partial& partial, const Term& term);
  Result<void> add_schema(Partial& partial, const json::value& node);
  Result<void> add_applicators(Partial& partial, const json::value& node);
  Result<void> add_options(Partial& partial, const json::value& node) const;
  Result<void> add_negation(Partial& partial, const json::value& node);
  Result<void> check_for_loop(const json::value& node);
  Result<std::vector<const json::value*>> in_place(const json::value& node) const;

  const SchemaDocument& document_;
  SchemaBudget& budget_;
  std::map<Terms, std::shared_ptr<const Ways>> known_;
  std::unordered_set<const json::value*> free_of_loops_;
  std::unordered_set<const json::value*> by_negation_;
};

/// Sorts and removes repetitions.
Terms as_set(Terms terms);

}  // namespace tetrad::grammar
