#pragma once

// Members of a schema, checked.

#include <optional>
#include <string_view>

#include "grammar/schema_document.h"
#include "grammar/schema_terms.h"

namespace tetrad::grammar {

/// A member of the schema object at `node`; null: there is none.
const json::value* schema_member(const json::value& node, std::string_view keyword);

/// Null where it is missing; an error where it is something else.
Result<const json::array*> array_member(const SchemaDocument& document, const json::value& node,
                                        std::string_view keyword);
Result<const json::object*> object_member(const SchemaDocument& document, const json::value& node,
                                          std::string_view keyword);
Result<const json::string*> string_member(const SchemaDocument& document, const json::value& node,
                                          std::string_view keyword);
/// A list of strings, such as "required".
Result<const json::array*> names_member(const SchemaDocument& document, const json::value& node,
                                        std::string_view keyword);
/// A count, such as "minItems"; whole and not negative.
Result<std::optional<int64_t>> count_member(const SchemaDocument& document, const json::value& node,
                                            std::string_view keyword);

/// A count that is known to be there.
Result<int64_t> present_count(const SchemaDocument& document, const json::value& node,
                              std::string_view keyword);

/// What "type" and "nullable" leave.
Result<TypeMask> types_member(const SchemaDocument& document, const json::value& node);

/// A schema that nothing satisfies, seen at once: false, or {"not": {}}.
bool is_false_schema(const json::value& schema);
/// A schema that everything satisfies, seen at once: true or {}.
bool is_true_schema(const json::value& schema);

}  // namespace tetrad::grammar
