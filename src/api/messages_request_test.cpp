#include "api/messages_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tetrad::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string messages_body(std::string_view messages, std::string_view fields = "") {
  return fmt::format(R"({{"model": "m", "max_tokens": 5, "messages": [{}]{}{}}})", messages,
                     fields.empty() ? "" : ", ", fields);
}

constexpr std::string_view kHi = R"({"role": "user", "content": "Hi"})";

Result<ChatRequest> parse_messages(std::string_view messages, std::string_view fields = "") {
  return parse_messages_request(messages_body(messages, fields), MessagesUse::generate);
}

/// The conversation as the template gets it.
std::string converted(std::string_view messages, std::string_view fields = "") {
  const auto request = parse_messages(messages, fields);
  if (!request) return request.error().message;
  return to_json_text(request->input.messages);
}

TEST(MessagesRequest, ReadsEveryField) {
  const auto request = parse_messages(kHi, R"(
      "system": "S", "temperature": 0.5, "top_p": 0.9, "top_k": 7, "seed": 3,
      "stop_sequences": ["a", "b"], "stream": true, "thinking": {"type": "enabled",
      "budget_tokens": 1024}, "tools": [{"name": "f", "description": "d", "input_schema":
      {"type": "object"}}], "tool_choice": {"type": "tool", "name": "f",
      "disable_parallel_tool_use": true}, "metadata": {"user_id": "u"}, "service_tier": "auto",
      "output_config": {"effort": "low"}, "priority": 2, "cache_salt": "s", "request_id": "r")");
  ASSERT_TRUE(request) << request.error().message;
  const CommonRequest& common = request->common;
  EXPECT_EQ(common.model, "m");
  EXPECT_EQ(common.sampling.max_tokens, 5);
  EXPECT_EQ(common.sampling.temperature, 0.5);
  EXPECT_EQ(common.sampling.top_p, 0.9);
  EXPECT_EQ(common.sampling.top_k, 7);
  EXPECT_EQ(common.sampling.seed, 3);
  EXPECT_THAT(common.sampling.stop, ElementsAre("a", "b"));
  EXPECT_TRUE(common.stream);
  EXPECT_EQ(common.priority, 2);
  EXPECT_EQ(common.cache_salt, "s");
  EXPECT_EQ(common.request_id, "r");
  EXPECT_TRUE(request->include_reasoning);
  EXPECT_EQ(request->tool_choice.name, "f");
  EXPECT_FALSE(request->parallel_tool_calls);
  ASSERT_TRUE(request->tools);
  EXPECT_EQ(request->tools->front().name, "f");
  EXPECT_EQ(to_json_text(request->input.tools),
            R"([{"type":"function","function":{"name":"f","description":"d",)"
            R"("parameters":{"type":"object"}}}])");
  EXPECT_TRUE(common.unknown_fields.empty());
  EXPECT_THAT(common.fields_without_effect,
              ElementsAre("metadata", "service_tier", "output_config.effort"));
}

TEST(MessagesRequest, TextAndSystem) {
  EXPECT_EQ(converted(kHi), R"([{"role":"user","content":"Hi"}])");
  EXPECT_EQ(
      converted(R"({"role": "user", "content": [{"type": "text", "text": "a",
                          "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]})",
                R"("system": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}])"),
      R"([{"role":"system","content":"x\n\ny"},{"role":"user","content":)"
      R"([{"type":"text","text":"a"},{"type":"text","text":"b"}]}])");
  EXPECT_EQ(converted(kHi, R"("system": "")"), R"([{"role":"user","content":"Hi"}])");
}

TEST(MessagesRequest, ABillingHeaderIsNoInstruction) {
  EXPECT_EQ(converted(kHi, R"("system": [{"type": "text",
      "text": "x-anthropic-billing-header: cc_version=2; cch=1;"}, {"type": "text", "text": "S"}])"),
            R"([{"role":"system","content":"S"},{"role":"user","content":"Hi"}])");
}

TEST(MessagesRequest, ToolCycle) {
  EXPECT_EQ(converted(R"(
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": [
          {"type": "thinking", "thinking": "hm", "signature": "s"},
          {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "Look:"},
          {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
          {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}]},
        {"role": "user", "content": [
          {"type": "tool_result", "tool_use_id": "toolu_1", "content": "one"},
          {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true,
           "content": [{"type": "text", "text": "no"}, {"type": "text", "text": "way"}]},
          {"type": "text", "text": "Go on"}]})"),
            R"([{"role":"user","content":"Q"},)"
            R"({"role":"assistant","content":"Look:","reasoning_content":"hm","tool_calls":[)"
            R"({"id":"toolu_1","type":"function","function":{"name":"f","arguments":{"a":1}}},)"
            R"({"id":"toolu_2","type":"function","function":{"name":"g","arguments":{}}}]},)"
            R"({"role":"tool","tool_call_id":"toolu_1","content":"one"},)"
            R"({"role":"tool","tool_call_id":"toolu_2","content":"Error: no\nway"},)"
            R"({"role":"user","content":[{"type":"text","text":"Go on"}]}])");
}

TEST(MessagesRequest, ThinkingIsShownToThoseWhoAsk) {
  const auto shown = [](std::string_view thinking) {
    return parse_messages(kHi, fmt::format(R"("thinking": {})", thinking))->include_reasoning;
  };
  EXPECT_FALSE(parse_messages(kHi)->include_reasoning);
  EXPECT_FALSE(shown("null"));
  EXPECT_FALSE(shown(R"({"type": "disabled"})"));
  EXPECT_TRUE(shown(R"({"type": "adaptive"})"));
  EXPECT_TRUE(shown(R"({"type": "enabled", "budget_tokens": 2000})"));
  EXPECT_FALSE(shown(R"({"type": "adaptive", "display": "omitted"})"));
}

TEST(MessagesRequest, ALastMessageOfTheAssistantIsContinued) {
  const auto request =
      parse_messages(fmt::format(R"({}, {{"role": "assistant", "content": "{{"}})", kHi));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_TRUE(request->continue_final_message);
  EXPECT_FALSE(request->input.add_generation_prompt);
  EXPECT_TRUE(parse_messages(kHi)->input.add_generation_prompt);
}

TEST(MessagesRequest, ToolChoices) {
  const auto choice = [](std::string_view type) {
    return parse_messages(kHi, fmt::format(R"("tools": [{{"name": "f", "input_schema": {{}}}}],
                                   "tool_choice": {{"type": "{}"}})",
                                           type))
        ->tool_choice.mode;
  };
  EXPECT_EQ(choice("auto"), ToolChoice::Mode::automatic);
  EXPECT_EQ(choice("any"), ToolChoice::Mode::required);
  EXPECT_EQ(choice("none"), ToolChoice::Mode::none);
}

TEST(MessagesRequest, ACountNeedsNoLength) {
  const std::string body = R"({"messages": [{"role": "user", "content": "Hi"}]})";
  EXPECT_TRUE(parse_messages_request(body, MessagesUse::count));
  EXPECT_EQ(parse_messages_request(body, MessagesUse::generate).error().param, "max_tokens");
}

struct BadMessages {
  const char* messages;
  const char* fields;
  const char* param;
};

TEST(MessagesRequest, WhatIsWrongIsNamed) {
  constexpr const char* kFine = R"({"role": "user", "content": "Hi"})";
  const BadMessages cases[] = {
      {"", "", "messages"},
      {"1", "", "messages[0]"},
      {"{}", "", "messages[0].role"},
      {R"({"role": "system", "content": "x"})", "", "messages[0].role"},
      {R"({"role": "user"})", "", "messages[0].content"},
      {R"({"role": "user", "content": 1})", "", "messages[0].content"},
      {R"({"role": "user", "content": []})", "", "messages"},
      {R"({"role": "user", "content": [1]})", "", "messages[0].content[0]"},
      {R"({"role": "user", "content": [{"text": "a"}]})", "", "messages[0].content[0].type"},
      {R"({"role": "user", "content": [{"type": "text"}]})", "", "messages[0].content[0].text"},
      {R"({"role": "user", "content": [{"type": "image", "source": {}}]})", "",
       "messages[0].content[0].type"},
      {R"({"role": "user", "content": [{"type": "document"}]})", "", "messages[0].content[0].type"},
      {R"({"role": "user", "content": [{"type": "tool_use"}]})", "", "messages[0].content[0].type"},
      {R"({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]})", "",
       "messages[0].content[0].tool_use_id"},
      {R"({"role": "user", "content": [{"type": "tool_result"}]})", "",
       "messages[0].content[0].tool_use_id"},
      {R"({"role": "assistant", "content": [{"type": "server_tool_use"}]})", "",
       "messages[0].content[0].type"},
      {R"({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f",
           "input": 1}]})",
       "", "messages[0].content[0].input"},
      {R"({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f"}]})", "",
       "messages"},
      {R"({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f"}]},
          {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a",
           "content": [{"type": "image"}]}]})",
       "", "messages[1].content[0].content[0].type"},
      {kFine, R"("max_tokens": 0)", "max_tokens"},
      {kFine, R"("system": 1)", "system"},
      {kFine, R"("system": [{"type": "image"}])", "system[0].type"},
      {kFine, R"("temperature": 1.1)", "temperature"},
      {kFine, R"("top_p": 0)", "top_p"},
      {kFine, R"("top_k": 0.5)", "top_k"},
      {kFine, R"("stop_sequences": [""])", "stop_sequences"},
      {kFine, R"("stop_sequences": [1])", "stop_sequences"},
      {kFine, R"("stream": 1)", "stream"},
      {kFine, R"("thinking": {})", "thinking.type"},
      {kFine, R"("thinking": {"type": "enabled"})", "thinking.budget_tokens"},
      {kFine, R"("thinking": {"type": "adaptive", "display": "all"})", "thinking.display"},
      {kFine, R"("tools": [{"type": "web_search_20250305", "name": "w"}])", "tools[0].type"},
      {kFine, R"("tools": [{"name": "f"}])", "tools[0].input_schema"},
      {kFine, R"("tools": [{"input_schema": {}}])", "tools[0].name"},
      {kFine, R"("tool_choice": {"type": "any"})", "tool_choice"},
      {kFine, R"("tool_choice": {"type": "tool"})", "tool_choice.name"},
      {kFine, R"("tool_choice": {"type": "maybe"})", "tool_choice.type"},
      {kFine, R"("tool_choice": "auto")", "tool_choice"},
      {kFine, R"("output_config": {"format": {"type": "json_schema"}})",
       "output_config.format.schema"},
      {kFine, R"("output_config": {"effort": "none"})", "output_config.effort"},
      {kFine, R"("mcp_servers": [{}])", "mcp_servers"},
      {kFine, R"("container": "x")", "container"},
      {kFine, R"("output_format": {})", "output_format"},
      {kFine, R"("structured_outputs": {})", "structured_outputs"},
  };
  for (const BadMessages& bad : cases) {
    const std::string fields = bad.fields;
    // "max_tokens" may stand only once.
    const std::string body = fields.starts_with("\"max_tokens\"")
                                 ? fmt::format(R"({{"messages": [{}], {}}})", bad.messages, fields)
                                 : messages_body(bad.messages, fields);
    const auto request = parse_messages_request(body, MessagesUse::generate);
    ASSERT_FALSE(request) << bad.messages << fields;
    EXPECT_EQ(request.error().param, bad.param) << bad.messages << fields;
    EXPECT_THAT(request.error().message, HasSubstr(bad.param));
  }
}

TEST(MessagesRequest, UnknownFieldsAreReported) {
  const auto request =
      parse_messages(kHi, R"("temprature": 0, "thinking": {"type": "adaptive", "depth": 1})");
  ASSERT_TRUE(request);
  EXPECT_THAT(request->common.unknown_fields, ElementsAre("thinking.depth", "temprature"));
}

}  // namespace
}  // namespace tetrad::api
