#pragma once

// Schemas compiled and texts followed through them, for tests.

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "grammar/json_schema.h"
#include "grammar/matcher.h"

namespace tetrad::grammar {

inline Result<Grammar> compiled_schema(std::string_view schema, const SchemaLimits& limits = {}) {
  TETRAD_ASSIGN(const json::value value, parse_json(schema, {.max_depth = 2000}));
  Builder builder;
  TETRAD_ASSIGN(const NodeId root, add_json_schema(builder, value, "schema", limits));
  return std::move(builder).finish(root);
}

inline bool matches(const Grammar& grammar, std::string_view text) {
  Matcher matcher(grammar);
  return matcher.accept(text) && matcher.can_end();
}

/// What is wrong with a schema, as "ok" if nothing is: all texts of `accepted` have to match, and
/// none of `rejected`.
inline std::string schema_faults(std::string_view schema, const std::vector<std::string>& accepted,
                                 const std::vector<std::string>& rejected) {
  const Result<Grammar> grammar = compiled_schema(schema);
  if (!grammar) return "refused: " + grammar.error().message;
  std::string faults;
  for (const std::string& text : accepted) {
    if (!matches(*grammar, text)) faults += "does not match " + text + "; ";
  }
  for (const std::string& text : rejected) {
    if (matches(*grammar, text)) faults += "matches " + text + "; ";
  }
  return faults.empty() ? "ok" : faults;
}

/// The param of the error that a schema is refused with; "" where it is not.
inline std::string refused_at(std::string_view schema, const SchemaLimits& limits = {}) {
  const Result<Grammar> grammar = compiled_schema(schema, limits);
  if (grammar) return "";
  return grammar.error().code == ErrorCode::invalid_argument ? grammar.error().param : "wrong code";
}

}  // namespace tetrad::grammar
