#pragma once

// Whether the options of a "oneOf" exclude each other, so that it means the same as "anyOf".

#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "grammar/schema_normalizer.h"
#include "grammar/schema_objects.h"
#include "grammar/schema_strings.h"

namespace tetrad::grammar {

class ExclusiveCheck {
 public:
  ExclusiveCheck(const SchemaDocument& document, SchemaBudget& budget, SchemaNormalizer& normalizer,
                 SchemaStrings& strings)
      : document_(document), budget_(budget), normalizer_(normalizer), strings_(strings) {}

  /// Whether no value satisfies two options, as far as can be told.
  Result<bool> check(const ExclusiveOptions& options);
  /// To be called when the normalizer has forgotten its ways.
  void forget_shapes() { shapes_.clear(); }

 private:
  Result<bool> all_disjoint(const ExclusiveOptions& options, bool with_context);
  Result<bool> disjoint(const Ways& a, const Ways& b, int depth);
  Result<bool> disjoint(const Alternative& a, const Alternative& b, int depth);
  Result<bool> disjoint_numbers(const Alternative& a, const Alternative& b);
  Result<bool> disjoint_strings(const Alternative& a, const Alternative& b);
  Result<bool> disjoint_arrays(const Alternative& a, const Alternative& b);
  Result<bool> disjoint_objects(const Alternative& a, const Alternative& b, int depth);
  Result<bool> tells_apart(const ObjectShape& a, const ObjectShape& b, int depth);
  Result<std::shared_ptr<const ObjectShape>> shape_of(const Alternative& alternative);

  const SchemaDocument& document_;
  SchemaBudget& budget_;
  SchemaNormalizer& normalizer_;
  SchemaStrings& strings_;
  std::unordered_map<const json::value*, bool> disjoint_alone_;
  // By the address of an alternative, which the normalizer keeps.
  std::unordered_map<const Alternative*, std::shared_ptr<const ObjectShape>> shapes_;
};

}  // namespace tetrad::grammar
