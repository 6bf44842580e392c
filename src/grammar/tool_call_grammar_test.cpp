#include "grammar/tool_call_grammar.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "grammar/schema_checks_for_tests.h"

namespace tetrad::grammar {
namespace {

ToolCallGrammar::Tool test_tool(std::string name, std::string_view parameters, bool strict) {
  return {.name = std::move(name),
          .parameters = parse_json(parameters)->get_object(),
          .strict = strict};
}

Result<Grammar> compiled_calls(const ToolCallGrammar& calls) {
  Builder builder;
  TETRAD_ASSIGN(const NodeId root, add_tool_calls(builder, calls));
  return std::move(builder).finish(root);
}

/// What is wrong with the values of the parameter "v", which has this schema; "ok" if nothing is.
std::string value_faults(std::string_view schema, const std::vector<std::string>& accepted,
                         const std::vector<std::string>& rejected) {
  const std::string parameters = fmt::format(
      R"({{"type":"object","properties":{{"v":{}}},"required":["v"],"additionalProperties":false}})",
      schema);
  const Result<Grammar> grammar =
      compiled_calls({.tools = {test_tool("f", parameters, true)}, .parallel = false});
  if (!grammar) return "refused: " + grammar.error().message;
  const auto call = [](const std::string& value) {
    return "\n<invoke name=\"f\">\n<parameter name=\"v\">" + value +
           "</parameter>\n</invoke>\n</minimax:tool_call>";
  };
  std::string faults;
  for (const std::string& value : accepted) {
    if (!matches(*grammar, call(value))) faults += "does not match " + value + "; ";
  }
  for (const std::string& value : rejected) {
    if (matches(*grammar, call(value))) faults += "matches " + value + "; ";
  }
  return faults.empty() ? "ok" : faults;
}

constexpr std::string_view kWeather = R"({"type":"object","properties":{"city":{"type":"string"},
    "days":{"type":"integer","minimum":1}},"required":["city"],"additionalProperties":false})";

TEST(ToolCallGrammar, IsTheMarkupOfTheTemplate) {
  const auto grammar = compiled_calls({.tools = {test_tool("get_weather", kWeather, true),
                                                 test_tool("ping", R"({"properties":{}})", true)},
                                       .begin = 7,
                                       .end = 8});
  ASSERT_TRUE(grammar) << grammar.error().message;
  Matcher matcher(*grammar);
  EXPECT_FALSE(matcher.accept("\n"));
  ASSERT_TRUE(matcher.accept_special(7));
  ASSERT_TRUE(
      matcher.accept("\n<invoke name=\"get_weather\">\n"
                     "<parameter name=\"city\">Paris</parameter>\n"
                     "<parameter name=\"days\">3</parameter>\n"
                     "</invoke>\n"
                     "<invoke name=\"ping\">\n"
                     "</invoke>\n"));
  EXPECT_FALSE(matcher.can_end());
  ASSERT_TRUE(matcher.accept_special(8));
  EXPECT_TRUE(matcher.can_end());
  EXPECT_EQ(matcher.min_bytes(), 0);
}

TEST(ToolCallGrammar, StrictToolsHaveTheirParameters) {
  const auto grammar =
      compiled_calls({.tools = {test_tool("f", kWeather, true)}, .parallel = false});
  ASSERT_TRUE(grammar) << grammar.error().message;
  const auto with = [&](std::string_view parameters) {
    return matches(*grammar, fmt::format("\n<invoke name=\"f\">\n{}</invoke>\n"
                                         "</minimax:tool_call>",
                                         parameters));
  };
  const std::string city = "<parameter name=\"city\">a\n b</parameter>\n";
  const std::string days = "<parameter name=\"days\">12</parameter>\n";
  EXPECT_TRUE(with(city));
  EXPECT_TRUE(with(days + city));
  EXPECT_FALSE(with(days));
  EXPECT_FALSE(with(city + city));
  EXPECT_FALSE(with(city + "<parameter name=\"other\">1</parameter>\n"));
  EXPECT_FALSE(with(city + "<parameter name=\"days\">0</parameter>\n"));
  EXPECT_FALSE(
      matches(*grammar, "\n<invoke name=\"g\">\n" + city + "</invoke>\n</minimax:tool_call>"));
  const std::string call = "<invoke name=\"f\">\n" + city + "</invoke>\n";
  EXPECT_FALSE(matches(*grammar, "\n" + call + call + "</minimax:tool_call>"));
  const auto parallel = compiled_calls({.tools = {test_tool("f", kWeather, true)}});
  ASSERT_TRUE(parallel);
  EXPECT_TRUE(matches(*parallel, "\n" + call + call + "</minimax:tool_call>"));
  EXPECT_FALSE(matches(*parallel, "\n</minimax:tool_call>"));
}

TEST(ToolCallGrammar, OtherToolsHaveTheirNames) {
  const auto grammar =
      compiled_calls({.tools = {test_tool("f", kWeather, false), test_tool("any", "{}", false)}});
  ASSERT_TRUE(grammar) << grammar.error().message;
  const auto call = [&](std::string_view tool, std::string_view parameters) {
    return matches(*grammar, fmt::format("\n<invoke name=\"{}\">\n{}</invoke>\n"
                                         "</minimax:tool_call>",
                                         tool, parameters));
  };
  EXPECT_TRUE(call("f", ""));
  EXPECT_TRUE(call("f", "<parameter name=\"days\">many</parameter>\n"));
  EXPECT_FALSE(call("f", "<parameter name=\"other\">1</parameter>\n"));
  EXPECT_TRUE(call("any", "<parameter name=\"a.b-c_9\">{\"x\"</parameter>\n"));
  EXPECT_FALSE(call("any", "<parameter name=\"a b\">1</parameter>\n"));
}

TEST(ToolCallGrammar, StringsAreRaw) {
  EXPECT_EQ(value_faults(R"({"type":"string"})", {"", "\"a\" <b> \\n", "123", "\n{", "</para>"},
                         {"a</parameter>b"}),
            "ok");
  EXPECT_EQ(value_faults(R"({"enum":["a b","é"]})", {"a b", "é"}, {"\"a b\"", "a", "a b\n"}), "ok");
  EXPECT_EQ(value_faults(R"({"type":"string","pattern":"^[a-z\n]+$","maxLength":3})",
                         {"abc", "a\nb"}, {"abcd", "\na", "a\n", "", "A"}),
            "ok");
  EXPECT_EQ(value_faults(R"({"type":"string","minLength":2,"maxLength":5000})",
                         {"ab", "a\nb", std::string(5000, 'x')},
                         {"a", "a\n", std::string(5001, 'x'), "</parameter>"}),
            "ok");
  EXPECT_EQ(value_faults(R"({"type":"string","format":"date"})", {"2024-01-31"}, {"2024-01-32"}),
            "ok");
}

/// The parser would take each for the end of the value, and what follows for something else.
TEST(ToolCallGrammar, NoValueHoldsATagThatEndsIt) {
  const std::vector<std::string> bad = {"a\n</invoke>\n-",       "</minimax:tool_call>",
                                        "<invoke name=\"g\">",   "<parameter\n name=\"b\">",
                                        "<<parameter name='b'>", "</parameter>"};
  const std::vector<std::string> good = {"</invoke",     "<invoker name", "<parameters>",
                                         "</invoke >",   "<invoke id=1>", "</tool_call>",
                                         "< invoke name"};
  EXPECT_EQ(value_faults(R"({"type":"string"})", good, bad), "ok");
  EXPECT_EQ(value_faults(R"({"type":"string","pattern":"^[^q]*$"})", good, bad), "ok");
  EXPECT_EQ(value_faults(R"({"type":"string","minLength":2,"maxLength":5000})", {"ab"}, bad), "ok");
  EXPECT_EQ(value_faults(R"({"type":"array","items":{"type":"string"}})",
                         {R"(["<invoke id=1>"])", R"(["\u003cinvoke name=\"g\">"])"},
                         {R"(["</invoke>"])", R"(["<invoke name=1>"])"}),
            "ok");
}

TEST(ToolCallGrammar, OtherTypesAreJson) {
  EXPECT_EQ(value_faults(R"({"type":"boolean"})", {"true", "false"}, {"True", "1", "\"true\""}),
            "ok");
  EXPECT_EQ(
      value_faults(R"({"type":"array","items":{"type":"string"}})",
                   {R"(["a", "<b>", "<\/parameter>"])", "[]"}, {R"(["</parameter>"])", "a", "[1]"}),
      "ok");
  EXPECT_EQ(value_faults(R"({"type":"object","properties":{"k":{"type":"string","maxLength":3}},
                             "additionalProperties":false})",
                         {R"({"k":"abc"})", R"({"k":"\u003ca"})"}, {R"({"k":"abcd"})"}),
            "ok");
  EXPECT_EQ(value_faults(R"({"enum":[1,2.5,null,[1]]})", {"1", "2.5", "null", "[1]"}, {"2", "[]"}),
            "ok");
}

// The parser takes "5" for a number wherever a number is allowed, so it is no way to write a
// string.
TEST(ToolCallGrammar, StringsBesideOtherTypesDoNotLookLikeThem) {
  EXPECT_EQ(value_faults(R"({"type":["string","integer"],"minimum":10})", {"12", "x", "1.5", "1x"},
                         {"5", " 5 ", "+5", "-1"}),
            "ok");
  EXPECT_EQ(
      value_faults(R"({"type":["string","null"],"minLength":1})", {"null", "x"}, {"NULL", ""}),
      "ok");
  EXPECT_EQ(value_faults(R"({"anyOf":[{"type":"string"},{"type":"object","required":["a"]}]})",
                         {"x", R"({"a":1})"}, {"{}", "{x", " [1]"}),
            "ok");
  EXPECT_EQ(value_faults(R"({"type":["string","boolean"],"enum":["yes","1",false]})",
                         {"yes", "false"}, {"1", "true", "0"}),
            "ok");
  // Without a type the parser makes a string of everything.
  EXPECT_EQ(value_faults(R"({"minimum":3})", {"1", "x"}, {}), "ok");
}

TEST(ToolCallGrammar, OtherKeysOfStrictToolsAreStrings) {
  const auto grammar = compiled_calls(
      {.tools = {test_tool("f", R"({"properties":{"a":{"type":"integer"}},
                                    "additionalProperties":{"maxLength":2}})",
                           true),
                 test_tool("g", R"({"additionalProperties":{"type":"integer"}})", true)}});
  ASSERT_TRUE(grammar) << grammar.error().message;
  const auto call = [&](std::string_view tool, std::string_view key, std::string_view value) {
    return matches(*grammar, fmt::format("\n<invoke name=\"{}\">\n<parameter name=\"{}\">{}"
                                         "</parameter>\n</invoke>\n</minimax:tool_call>",
                                         tool, key, value));
  };
  EXPECT_TRUE(call("f", "a", "100"));
  EXPECT_TRUE(call("f", "b", "10"));
  EXPECT_FALSE(call("f", "b", "100"));
  EXPECT_FALSE(call("g", "b", "10"));
}

TEST(ToolCallGrammar, NamesThatNoTagCanHoldAreRefused) {
  for (const bool strict : {true, false}) {
    const auto grammar = compiled_calls(
        {.tools = {test_tool("f", kWeather, strict),
                   test_tool("g", R"({"properties":{"a>b":{"type":"string"}}})", strict)}});
    ASSERT_FALSE(grammar);
    EXPECT_EQ(grammar.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(grammar.error().param, "tools[1].function.parameters");
  }
  ToolCallGrammar::Tool tool = test_tool("f", R"({"properties":{"a":{"pattern":"("}}})", true);
  tool.param = "tools[4].input_schema";
  const auto grammar = compiled_calls({.tools = {tool}});
  ASSERT_FALSE(grammar);
  EXPECT_EQ(grammar.error().param, "tools[4].input_schema.properties.a.pattern");
}

TEST(ToolCallGrammar, ManyTools) {
  ToolCallGrammar calls;
  for (int i = 0; i < 1000; ++i)
    calls.tools.push_back(test_tool(fmt::format("tool_{}", i), kWeather, i % 2 == 0));
  const auto grammar = compiled_calls(calls);
  ASSERT_TRUE(grammar) << grammar.error().message;
  EXPECT_TRUE(matches(*grammar,
                      "\n<invoke name=\"tool_998\">\n<parameter name=\"city\">x"
                      "</parameter>\n</invoke>\n</minimax:tool_call>"));
}

}  // namespace
}  // namespace tetrad::grammar
