#include "chat/output_parser.h"

#include <gtest/gtest.h>

#include "chat/parsed_output_for_tests.h"

namespace tetrad {
namespace {

ToolDefinitions two_tools() {
  const json::object parameters =
      parse_json(R"({"properties":{"a":{"type":"string"},"n":{"type":"integer"}}})")->get_object();
  return std::make_shared<const std::vector<ToolDefinition>>(
      std::vector<ToolDefinition>{{.name = "f", .parameters = parameters}, {.name = "g"}});
}

/// The arguments in a delta of one call.
std::string arguments_of(const OutputDelta& delta) {
  return delta.tool_calls.size() == 1 ? delta.tool_calls[0].arguments : "";
}

TEST(OutputParser, ReleasesTextAsSoonAsItIsCertain) {
  OutputParser parser({.starts_in_reasoning = true, .tools = two_tools()});
  EXPECT_EQ(parser.push("Let me ").reasoning, "Let me");
  EXPECT_EQ(parser.push("see </th").reasoning, " see");
  EXPECT_TRUE(parser.in_reasoning());
  const OutputDelta turned = parser.push("ink>\n\nYes");
  EXPECT_EQ(turned.reasoning, "");
  EXPECT_EQ(turned.content, "Yes");
  EXPECT_FALSE(parser.in_reasoning());
  EXPECT_EQ(parser.push(" indeed\n").content, " indeed");
  EXPECT_EQ(parser.push("\n<").content, "");
  EXPECT_EQ(parser.push("b>").content, "\n\n<b>");
}

TEST(OutputParser, WithoutToolsNothingButClosingTagsIsHeldBack) {
  OutputParser parser({});
  EXPECT_EQ(parser.push(" \n<invoke name=").content, " \n<invoke name=");
  EXPECT_EQ(parser.push("<minimax").content, "<minimax");
  EXPECT_EQ(parser.push("</th").content, "");
}

// vLLM #39649, #40779, #36073, #36116: nothing came before the call was complete.
TEST(OutputParser, StringsAreSentBeforeTheyAreComplete) {
  OutputParser parser({.tools = two_tools()});
  const OutputDelta opened = parser.push("<minimax:tool_call>\n<invoke name=\"f\">");
  ASSERT_EQ(opened.tool_calls.size(), 1U);
  EXPECT_EQ(opened.tool_calls[0].name, "f");
  EXPECT_EQ(opened.tool_calls[0].arguments, "");
  EXPECT_EQ(arguments_of(parser.push("\n<parameter name=\"a\">")), R"({"a": ")");
  EXPECT_EQ(arguments_of(parser.push("\none ")), "one ");
  EXPECT_EQ(arguments_of(parser.push("\"two\"\n")), R"(\"two\")");
  EXPECT_EQ(arguments_of(parser.push("three</para")), R"(\nthree)");
  EXPECT_EQ(arguments_of(parser.push("meter>\n")), "");
  EXPECT_EQ(arguments_of(parser.push("</invoke>")), "\"}");
  EXPECT_TRUE(parser.push("\n</minimax:tool_call>").empty());
  EXPECT_TRUE(parser.finish().empty());
  EXPECT_TRUE(parser.has_complete_tool_call());
}

TEST(OutputParser, OtherValuesAreSentWhenTheyAreComplete) {
  OutputParser parser({.tools = two_tools()});
  parser.push("<minimax:tool_call><invoke name=\"f\">");
  EXPECT_TRUE(parser.push("<parameter name=\"n\">1").empty());
  EXPECT_TRUE(parser.push("2</parameter>").empty());
  EXPECT_EQ(arguments_of(parser.push("<parameter name=\"a\">")), R"({"n": 12, "a": ")");
}

TEST(OutputParser, PiecesOfOneCallAreOneInADelta) {
  OutputParser parser({.tools = two_tools()});
  const OutputDelta delta = parser.push(
      "x<minimax:tool_call><invoke name=\"f\"><parameter name=\"a\">1</parameter></invoke>"
      "<invoke name=\"g\"></invoke></minimax:tool_call>y");
  EXPECT_EQ(delta.content, "xy");
  ASSERT_EQ(delta.tool_calls.size(), 2U);
  EXPECT_EQ(delta.tool_calls[0].arguments, R"({"a": "1"})");
  EXPECT_EQ(delta.tool_calls[1].name, "g");
  EXPECT_EQ(delta.tool_calls[1].arguments, "{}");
}

TEST(OutputParser, CountsWhatItDrops) {
  OutputParser parser({.tools = two_tools()});
  parser.push("<minimax:tool_call><invoke name=\"zz\"></invoke><invoke name=\"f\"></invoke>");
  parser.finish();
  EXPECT_EQ(parser.num_tool_calls(), 1);
  EXPECT_EQ(parser.num_unknown_calls(), 1);
}

TEST(OutputParser, TagsHaveALargestLength) {
  const OutputFormat format{.tools = two_tools()};
  const std::string long_tag = "<invoke name=" + std::string(2000, ' ') + "f></invoke>";
  EXPECT_EQ(parse_pieces_for_tests(format, {long_tag}).content, long_tag);
  const std::string tag = "<invoke name=" + std::string(1000, ' ') + "f></invoke>";
  EXPECT_EQ(parse_pieces_for_tests(format, {tag}).calls.size(), 1U);
}

// Time that grows with the square of the text would show here.
TEST(OutputParser, LongTextsByteByByte) {
  for (const std::string_view unit :
       {"<", "\n", "</parameter>", "</parameter> ", "<invoke name=", "<parameter name=\"a\">",
        "<minimax:tool_call>", "\\\"", "é"}) {
    for (const std::string_view start :
         {"", "<minimax:tool_call>", "<minimax:tool_call><invoke name=f><parameter name=a>",
          "<minimax:tool_call><invoke name=f><parameter name=n>",
          "<minimax:tool_call><invoke name=zz><parameter name=n>"}) {
      std::string text(start);
      while (text.size() < 200'000)
        text += unit;
      const OutputFormat format{.tools = two_tools()};
      EXPECT_EQ(parse_pieces_for_tests(format, characters_for_tests(text)),
                parse_pieces_for_tests(format, {text}));
    }
  }
}

}  // namespace
}  // namespace tetrad
