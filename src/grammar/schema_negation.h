#pragma once

// Keywords that ask for the opposite of a schema.

#include <vector>

#include "grammar/schema_document.h"
#include "grammar/schema_terms.h"

namespace tetrad::grammar {

/// A value does not satisfy the schema object at `node` exactly if it satisfies all terms of one of
/// the options. Errors: a keyword whose opposite no grammar has.
Result<std::vector<Terms>> negated_options(const SchemaDocument& document, const json::value& node);

/// What if/then/else, dependentRequired, dependentSchemas and dependencies ask for: of each element
/// one of the options.
Result<std::vector<std::vector<Terms>>> conditional_options(const SchemaDocument& document,
                                                            const json::value& node);

}  // namespace tetrad::grammar
