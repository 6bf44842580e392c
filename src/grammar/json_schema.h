#pragma once

// JSON texts as grammars: of any value, and of the values that satisfy a JSON Schema.
//
// Every text that such a grammar matches is a document that satisfies the schema, and every such
// document has a text that it matches: keys in any order, white space as in JsonSyntax. What can't
// be followed is refused by name; unknown keywords say nothing about validity and are ignored.

#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "grammar/grammar.h"
#include "grammar/schema_limits.h"

namespace tetrad::grammar {

/// `param`: how the request calls the schema. Errors, all ErrorCode::invalid_argument with the path
/// of the keyword: a malformed schema, a keyword that is not supported, a limit.
Result<NodeId> add_json_schema(Builder& builder, const json::value& schema, std::string_view param,
                               const SchemaLimits& limits = {});

/// Any JSON value.
Result<NodeId> add_any_json(Builder& builder);

/// Any JSON object.
Result<NodeId> add_any_json_object(Builder& builder);

}  // namespace tetrad::grammar
