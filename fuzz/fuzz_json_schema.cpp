// A JSON Schema from anywhere, and behind a zero byte a document: what a grammar accepts is JSON.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/json.h"
#include "grammar/json_schema.h"
#include "grammar/matcher.h"
#include "grammar/tool_call_grammar.h"

namespace {

namespace grammar = tetrad::grammar;

bool is_json(std::string_view text) {
  tetrad::json::error_code ec;
  tetrad::json::parse_options options;
  options.max_depth = 10'000;
  tetrad::json::parse(text, ec, {}, options);
  return !ec;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto schema = tetrad::parse_json(input.substr(0, input.find('\0')));
  if (!schema) return 0;
  const grammar::SchemaLimits limits{.max_steps = 300'000, .automata = {.max_states = 2000}};
  if (const tetrad::json::object* parameters = schema->if_object()) {
    grammar::Builder builder;
    const auto root = add_tool_calls(
        builder, {.tools = {{.name = "f", .parameters = *parameters, .strict = true}}}, limits);
    if (root) (void)std::move(builder).finish(*root);
  }
  grammar::Builder builder;
  const auto root = add_json_schema(builder, *schema, "schema", limits);
  if (!root) return 0;
  const auto compiled = std::move(builder).finish(*root);
  if (!compiled || input.find('\0') == std::string_view::npos) return 0;
  const std::string_view document = input.substr(input.find('\0') + 1);
  grammar::Matcher matcher(*compiled);
  if (matcher.accept(document) && matcher.can_end() && !is_json(document)) std::abort();
  return 0;
}
