#include "api/tool_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/chat_request.h"

namespace tetrad::api {
namespace {

using testing::HasSubstr;

constexpr std::string_view kTwoTools =
    R"("tools": [{"type": "function", "function": {"name": "f", "description": "d", "x": 1,
                   "parameters": {"type": "object"}, "strict": true}},
                 {"type": "function", "function": {"name": "g"}}])";

Result<ChatRequest> with_tools(std::string_view fields) {
  return parse_chat_request(
      fmt::format(R"({{"messages": [{{"role": "user", "content": "Hi"}}], {}}})", fields));
}

Result<ChatRequest> with_choice(std::string_view choice) {
  return with_tools(fmt::format(R"({}, "tool_choice": {})", kTwoTools, choice));
}

TEST(ChatTools, BecomeDefinitions) {
  const auto request = with_tools(kTwoTools);
  ASSERT_TRUE(request) << request.error().message;
  ASSERT_TRUE(request->tools);
  ASSERT_EQ(request->tools->size(), 2u);
  EXPECT_EQ(request->tools->at(0).name, "f");
  EXPECT_EQ(to_json_text(request->tools->at(0).parameters), R"({"type":"object"})");
  EXPECT_TRUE(request->tools->at(0).strict);
  EXPECT_TRUE(request->tools->at(1).parameters.empty());
  EXPECT_FALSE(request->tools->at(1).strict);
  EXPECT_TRUE(request->parallel_tool_calls);
  EXPECT_EQ(request->tool_choice.mode, ToolChoice::Mode::automatic);
  // The prompt shows the function as the client wrote it.
  EXPECT_EQ(to_json_text(request->input.tools.at(0).at("function")),
            R"({"name":"f","description":"d","x":1,"parameters":{"type":"object"},"strict":true})");
}

TEST(ChatTools, ChoiceIsRead) {
  EXPECT_EQ(with_choice(R"("auto")")->tool_choice.mode, ToolChoice::Mode::automatic);
  EXPECT_EQ(with_choice(R"("required")")->tool_choice.mode, ToolChoice::Mode::required);
  EXPECT_TRUE(with_choice(R"("required")")->tools);
  const auto named = with_choice(R"({"type": "function", "function": {"name": "g"}})");
  EXPECT_EQ(named->tool_choice.mode, ToolChoice::Mode::named);
  EXPECT_EQ(named->tool_choice.name, "g");
  EXPECT_TRUE(named->tool_choice.forces_call());
  EXPECT_FALSE(with_tools(R"("tool_choice": "none")")->tool_choice.forces_call());
  EXPECT_FALSE(with_tools(R"("parallel_tool_calls": false)")->parallel_tool_calls);
}

TEST(ChatTools, NoneHidesThem) {
  const auto none = with_choice(R"("none")");
  EXPECT_EQ(none->tool_choice.mode, ToolChoice::Mode::none);
  EXPECT_TRUE(none->input.tools.empty());
  EXPECT_FALSE(none->tools);
  EXPECT_FALSE(with_tools(R"("tools": [])")->tools);
}

struct BadTools {
  const char* fields;
  const char* param;
};

TEST(ChatTools, WhatIsWrongIsNamed) {
  const BadTools cases[] = {
      {R"("tools": {})", "tools"},
      {R"("tools": [1])", "tools[0]"},
      {R"("tools": [{"type": "function"}])", "tools[0].function"},
      {R"("tools": [{"type": "web"}])", "tools[0].type"},
      {R"("tools": [{"function": {}}])", "tools[0].function.name"},
      {R"("tools": [{"function": {"name": ""}}])", "tools[0].function.name"},
      {R"("tools": [{"function": {"name": "a\"b"}}])", "tools[0].function.name"},
      {R"("tools": [{"function": {"name": "a>b"}}])", "tools[0].function.name"},
      {R"("tools": [{"function": {"name": "a\nb"}}])", "tools[0].function.name"},
      {R"("tools": [{"function": {"name": 1}}])", "tools[0].function.name"},
      {R"("tools": [{"function": {"name": "f", "parameters": []}}])",
       "tools[0].function.parameters"},
      {R"("tools": [{"function": {"name": "f", "strict": 1}}])", "tools[0].function.strict"},
      {R"("tools": [{"function": {"name": "f", "description": 1}}])",
       "tools[0].function.description"},
      {R"("tools": [{"function": {"name": "f"}}, {"function": {"name": "f"}}])",
       "tools[1].function.name"},
      {R"("tool_choice": "required")", "tool_choice"},
      {R"("tool_choice": {"type": "function", "function": {"name": "f"}})", "tool_choice"},
      {R"("tools": [{"function": {"name": "f"}}],
          "tool_choice": {"type": "function", "function": {"name": "g"}})",
       "tool_choice"},
      {R"("tool_choice": "perhaps")", "tool_choice"},
      {R"("tool_choice": 1)", "tool_choice"},
      {R"("tool_choice": {"type": "function"})", "tool_choice.function"},
      {R"("tool_choice": {"function": {}})", "tool_choice.function.name"},
      {R"("tool_choice": {"type": "custom"})", "tool_choice.type"},
      {R"("tool_choice": {"type": "allowed_tools", "allowed_tools": {}})",
       "tool_choice.allowed_tools"},
      {R"("parallel_tool_calls": 1)", "parallel_tool_calls"},
  };
  for (const BadTools& bad : cases) {
    const auto request = with_tools(bad.fields);
    ASSERT_FALSE(request) << bad.fields;
    EXPECT_EQ(request.error().param, bad.param) << bad.fields;
    EXPECT_THAT(request.error().message, HasSubstr(bad.param)) << bad.fields;
  }
}

TEST(ChatTools, AreLimited) {
  const auto tools = [](int count, const std::string& description) {
    std::string list;
    for (int i = 0; i < count; ++i) {
      list += fmt::format(R"({}{{"function": {{"name": "f{}", "parameters": {{"title": "{}"}}}}}})",
                          i > 0 ? "," : "", i, description);
    }
    return with_tools(R"("tools": [)" + list + "]");
  };
  EXPECT_TRUE(tools(1024, ""));
  EXPECT_EQ(tools(1025, "").error().param, "tools");
  EXPECT_TRUE(tools(2, std::string(500'000, 'x')));
  const auto large = tools(3, std::string(500'000, 'x'));
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().param, "tools[2].function.parameters");
  const auto name =
      with_tools(R"("tools": [{"function": {"name": ")" + std::string(257, 'x') + R"("}}])");
  EXPECT_EQ(name.error().param, "tools[0].function.name");
}

}  // namespace
}  // namespace tetrad::api
