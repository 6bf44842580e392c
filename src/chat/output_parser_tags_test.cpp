// Tags that come as tokens, and their spelling, which is only text then.

#include <gtest/gtest.h>

#include "chat/output_parser.h"

namespace tetrad {
namespace {

/// {text, whether it is a tag's token}.
using TaggedPieces = std::vector<std::pair<std::string, bool>>;

ToolDefinitions one_string_tool() {
  return std::make_shared<const std::vector<ToolDefinition>>(std::vector<ToolDefinition>{
      {.name = "f",
       .parameters = json::parse(R"({"properties": {"a": {"type": "string"}}})").get_object()}});
}

/// `by_character`: text that is no tag comes a character at a time.
OutputDelta parse_tagged(const TaggedPieces& pieces, bool by_character) {
  OutputParser parser(
      {.starts_in_reasoning = true, .tools = one_string_tool(), .tags = TagSource::tokens});
  OutputDelta all;
  const auto add = [&all](OutputDelta delta) {
    all.reasoning += delta.reasoning;
    all.content += delta.content;
    for (ToolCallDelta& piece : delta.tool_calls) {
      if (piece.name) {
        all.tool_calls.push_back(std::move(piece));
      } else {
        all.tool_calls.back().arguments += piece.arguments;
      }
    }
  };
  for (const auto& [text, is_tag] : pieces) {
    if (is_tag) {
      add(parser.push_tag(text));
    } else if (by_character) {
      for (const char c : text)
        add(parser.push(std::string(1, c)));
    } else {
      add(parser.push(text));
    }
  }
  add(parser.finish());
  return all;
}

TEST(OutputParserTags, SpellingIsText) {
  const TaggedPieces pieces = {
      {"the tag </think> or <minimax:tool_call>", false},
      {"</think>", true},
      {"write </think> and <minimax:tool_call> <", false},
      {"<minimax:tool_call>", true},
      {"\n<invoke name=\"f\">\n<parameter name=\"a\"></minimax:tool_call></parameter>\n</invoke>\n",
       false},
      {"</minimax:tool_call>", true},
      {"<think>", false},
  };
  for (const bool by_character : {false, true}) {
    const OutputDelta all = parse_tagged(pieces, by_character);
    EXPECT_EQ(all.reasoning, "the tag </think> or <minimax:tool_call>");
    EXPECT_EQ(all.content, "write </think> and <minimax:tool_call> <<think>");
    ASSERT_EQ(all.tool_calls.size(), 1U);
    EXPECT_EQ(all.tool_calls.front().arguments, R"({"a": "</minimax:tool_call>"})");
  }
}

TEST(OutputParserTags, ATokenEndsWhatWasHeldBack) {
  const TaggedPieces pieces = {{"a <inv", false},
                               {"</think>", true},
                               {"b <invoke name=\"f\"", false},
                               {"<minimax:tool_call>", true},
                               {"<invoke name=f></invoke></", false},
                               {"</minimax:tool_call>", true}};
  const OutputDelta all = parse_tagged(pieces, /*by_character=*/false);
  EXPECT_EQ(all.reasoning, "a <inv");
  EXPECT_EQ(all.content, "b <invoke name=\"f\"");
  ASSERT_EQ(all.tool_calls.size(), 1U);
  EXPECT_EQ(all.tool_calls.front().arguments, "{}");
}

}  // namespace
}  // namespace tetrad
