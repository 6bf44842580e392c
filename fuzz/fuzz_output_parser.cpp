// A model's output. The first byte says how it is read, the second where it is cut in two; what
// comes out must not depend on the cut, and calls must have OpenAI's form.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "chat/parsed_output_for_tests.h"
#include "text/utf8.h"

namespace {

using namespace tetrad;

void require(bool condition) {
  if (!condition) std::abort();
}

ToolDefinitions some_tools() {
  const char* parameters = R"({
      "properties": {
          "a": {"type": "string"}, "b": {"type": ["string", "null"]}, "i": {"type": "integer"},
          "n": {"type": "number"}, "y": {"type": "boolean"}, "r": {"$ref": "#/$defs/r"},
          "l": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/r"}]}}},
      "$defs": {"r": {"type": "object", "properties": {"r": {"$ref": "#/$defs/r"},
                                                       "n": {"type": "number"}}}}})";
  return std::make_shared<const std::vector<ToolDefinition>>(std::vector<ToolDefinition>{
      {.name = "f", .parameters = parse_json(parameters)->get_object()}, {.name = "g"}});
}

OutputFormat format_of(uint8_t bits) {
  static const ToolDefinitions tools = some_tools();
  return {.starts_in_reasoning = (bits & 1U) != 0,
          .reasoning = (bits & 2U) != 0 ? ReasoningStyle::append_think : ReasoningStyle::split,
          .tools = (bits & 4U) != 0 ? nullptr : tools,
          .parallel_tool_calls = (bits & 8U) == 0,
          .tags = (bits & 16U) != 0 ? TagSource::tokens : TagSource::spelling};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  std::string text;
  append_lossy_utf8(std::string_view(reinterpret_cast<const char*>(data) + 2, size - 2), text);
  const std::string_view view = text;
  const OutputFormat format = format_of(data[0]);
  const ParsedOutputForTests whole = parse_pieces_for_tests(format, {view});
  require(whole.fault.empty());
  const size_t cut = view.size() * data[1] / 256;
  require(parse_pieces_for_tests(format, {view.substr(0, cut), view.substr(cut)}) == whole);
  require(parse_pieces_for_tests(format, characters_for_tests(view)) == whole);
  // Nothing is made up: without tools all that is left out is tags and whitespace.
  require(whole.reasoning.size() + whole.content.size() <= text.size() + 7);
  return 0;
}
