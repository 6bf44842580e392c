// Compiles schemas from standard input and follows documents through their grammars, for
// json_schema_suite.py to judge. A line holds {"schema", "documents" (JSON texts)}; the answer has
// either "error" and "param", or "accepted", a boolean for each document.

#include <fmt/core.h>

#include <iostream>
#include <string>

#include "base/json.h"
#include "grammar/json_schema.h"
#include "grammar/matcher.h"

namespace tetrad::grammar {
namespace {

Result<Grammar> compile(const json::value& schema) {
  Builder builder;
  TETRAD_ASSIGN(const NodeId root, add_json_schema(builder, schema, "schema"));
  return std::move(builder).finish(root);
}

json::object answer(const json::object& line) {
  const Result<Grammar> grammar = compile(line.at("schema"));
  if (!grammar) return {{"error", grammar.error().message}, {"param", grammar.error().param}};
  json::array accepted;
  for (const json::value& document : line.at("documents").as_array()) {
    Matcher matcher(*grammar);
    accepted.push_back(matcher.accept(std::string_view(document.as_string())) && matcher.can_end());
  }
  return {{"accepted", std::move(accepted)}};
}

}  // namespace
}  // namespace tetrad::grammar

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto value = tetrad::parse_json(line, {.max_depth = 1000});
    if (!value) {
      fmt::print(stderr, "{}\n", value.error().message);
      return 1;
    }
    fmt::print("{}\n", tetrad::to_json_text(tetrad::grammar::answer(value->as_object())));
  }
  return 0;
}
