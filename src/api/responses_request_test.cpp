#include "api/responses_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tetrad::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Result<ResponsesRequest> parse_input(std::string_view input, std::string_view fields = "") {
  return parse_responses_request(
      fmt::format(R"({{"input": {}{}{}}})", input, fields.empty() ? "" : ", ", fields));
}

/// The conversation as the template gets it.
std::string items(std::string_view input, std::string_view fields = "") {
  const auto request = parse_input(input, fields);
  if (!request) return request.error().message;
  return to_json_text(request->chat.input.messages);
}

TEST(ResponsesRequest, ReadsEveryField) {
  const auto request = parse_input(R"("Hi")", R"(
      "model": "m", "instructions": "S", "temperature": 0.5, "top_p": 0.9, "top_k": 7, "seed": 3,
      "max_output_tokens": 5, "stream": true, "stream_options": {"include_obfuscation": false},
      "tools": [{"type": "function", "name": "f", "description": "d", "strict": true,
      "parameters": {"type": "object"}}], "tool_choice": {"type": "function", "name": "f"},
      "parallel_tool_calls": false, "text": {"format": {"type": "text"}, "verbosity": "medium"},
      "reasoning": {"effort": "low", "summary": "auto"}, "metadata": {"a": "b"}, "store": true,
      "include": ["reasoning.encrypted_content"], "truncation": "disabled", "user": "u",
      "top_logprobs": 0, "service_tier": "auto", "background": false, "priority": 1,
      "cache_salt": "s", "request_id": "r")");
  ASSERT_TRUE(request) << request.error().message;
  const ChatRequest& chat = request->chat;
  EXPECT_EQ(chat.common.model, "m");
  EXPECT_EQ(chat.common.sampling.temperature, 0.5);
  EXPECT_EQ(chat.common.sampling.top_p, 0.9);
  EXPECT_EQ(chat.common.sampling.top_k, 7);
  EXPECT_EQ(chat.common.sampling.seed, 3);
  EXPECT_EQ(chat.common.sampling.max_tokens, 5);
  EXPECT_TRUE(chat.common.stream);
  EXPECT_EQ(chat.common.priority, 1);
  EXPECT_EQ(chat.common.request_id, "r");
  EXPECT_FALSE(chat.parallel_tool_calls);
  EXPECT_EQ(chat.tool_choice.name, "f");
  ASSERT_TRUE(chat.tools);
  EXPECT_TRUE(chat.tools->front().strict);
  EXPECT_EQ(to_json_text(chat.input.tools),
            R"([{"type":"function","function":{"name":"f","description":"d",)"
            R"("parameters":{"type":"object"}}}])");
  EXPECT_EQ(to_json_text(chat.input.messages),
            R"([{"role":"system","content":"S"},{"role":"user","content":"Hi"}])");
  EXPECT_TRUE(chat.common.unknown_fields.empty());
  EXPECT_THAT(chat.common.fields_without_effect,
              ElementsAre("user", "metadata", "store", "service_tier", "reasoning.effort",
                          "reasoning.summary"));
  const json::object& echo = request->echo;
  EXPECT_EQ(echo.at("store"), false);
  EXPECT_EQ(echo.at("instructions"), "S");
  EXPECT_EQ(echo.at("max_output_tokens"), 5);
  EXPECT_EQ(echo.at("parallel_tool_calls"), false);
  EXPECT_EQ(to_json_text(echo.at("metadata")), R"({"a":"b"})");
  EXPECT_EQ(to_json_text(echo.at("tool_choice")), R"({"type":"function","name":"f"})");
  EXPECT_EQ(echo.at("tools").at(0).at("name"), "f");
  EXPECT_EQ(echo.at("reasoning").at("effort"), "low");
}

TEST(ResponsesRequest, EchoesTheDefaults) {
  const json::object echo = parse_input(R"("Hi")")->echo;
  EXPECT_EQ(to_json_text(echo.at("text")), R"({"format":{"type":"text"}})");
  EXPECT_EQ(to_json_text(echo.at("reasoning")), R"({"effort":null,"summary":null})");
  EXPECT_EQ(echo.at("tool_choice"), "auto");
  EXPECT_EQ(echo.at("parallel_tool_calls"), true);
  EXPECT_EQ(to_json_text(echo.at("tools")), "[]");
  EXPECT_EQ(to_json_text(echo.at("metadata")), "{}");
  EXPECT_TRUE(echo.at("instructions").is_null());
  EXPECT_TRUE(echo.at("previous_response_id").is_null());
  EXPECT_TRUE(echo.at("max_output_tokens").is_null());
  EXPECT_EQ(echo.at("truncation"), "disabled");
}

TEST(ResponsesRequest, ItemsBecomeMessages) {
  EXPECT_EQ(items(R"([{"role": "developer", "content": "D"},
                      {"type": "message", "role": "user", "content": [
                        {"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
                      {"role": "assistant", "content": [{"type": "output_text", "text": "c",
                        "annotations": []}, {"type": "refusal", "refusal": "!"}]},
                      {"role": "user", "content": "d"}])"),
            R"([{"role":"developer","content":"D"},{"role":"user","content":"ab"},)"
            R"({"role":"assistant","content":"c!"},{"role":"user","content":"d"}])");
}

TEST(ResponsesRequest, AToolCycleIsOneMessageAndItsResults) {
  EXPECT_EQ(items(R"([{"role": "user", "content": "Q"},
        {"type": "reasoning", "id": "rs_1", "summary": [],
         "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": "Look:"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2",
         "output": [{"type": "input_text", "text": "two"}, {"type": "input_text", "text": "2"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}]},
        {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"}])"),
            R"([{"role":"user","content":"Q"},)"
            R"({"role":"assistant","content":"Look:","reasoning_content":"hm","tool_calls":[)"
            R"({"id":"c1","type":"function","function":{"name":"f","arguments":{"a":1}}},)"
            R"({"id":"c2","type":"function","function":{"name":"g","arguments":{}}}]},)"
            R"({"role":"tool","tool_call_id":"c1","content":"one"},)"
            R"({"role":"tool","tool_call_id":"c2","content":"two\n2"},)"
            R"({"role":"assistant","content":"","reasoning_content":"s","tool_calls":[)"
            R"({"id":"c3","type":"function","function":{"name":"f","arguments":{}}}]}])");
}

TEST(ResponsesRequest, EncryptedReasoningSaysNothing) {
  EXPECT_EQ(items(R"([{"role": "user", "content": "Q"},
                      {"type": "reasoning", "summary": [], "encrypted_content": "x"},
                      {"role": "assistant", "content": "A"}, {"role": "user", "content": "R"}])"),
            R"([{"role":"user","content":"Q"},{"role":"assistant","content":"A"},)"
            R"({"role":"user","content":"R"}])");
}

TEST(ResponsesRequest, LaterInstructionsAreTheUsers) {
  EXPECT_EQ(items(R"([{"role": "system", "content": "A"}, {"role": "developer", "content": "B"},
                      {"role": "user", "content": "Q"}, {"role": "developer", "content": "C"}])"),
            R"([{"role":"system","content":"A"},{"role":"developer","content":"B"},)"
            R"({"role":"user","content":"Q"},{"role":"user","content":"C"}])");
}

struct BadInput {
  const char* input;
  const char* fields;
  const char* param;
};

TEST(ResponsesRequest, WhatIsWrongIsNamed) {
  constexpr const char* kFine = R"("Hi")";
  const BadInput cases[] = {
      {"null", "", "input"},
      {"1", "", "input"},
      {"[]", "", "input"},
      {"[1]", "", "input[0]"},
      {"[{}]", "", "input[0].role"},
      {R"([{"role": "tool", "content": "x"}])", "", "input[0].role"},
      {R"([{"role": "user"}])", "", "input[0].content"},
      {R"([{"role": "user", "content": {}}])", "", "input[0].content"},
      {R"([{"role": "user", "content": [{"type": "input_image"}]}])", "",
       "input[0].content[0].type"},
      {R"([{"role": "user", "content": [{"type": ""}]}])", "", "input[0].content[0].type"},
      {R"([{"role": "user", "content": [{"type": "input_text output_text"}]}])", "",
       "input[0].content[0].type"},
      {R"([{"role": "user", "content": [{"type": "input_text"}]}])", "",
       "input[0].content[0].text"},
      {R"([{"type": "item_reference", "id": "x"}])", "", "input[0].type"},
      {R"([{"type": "web_search_call"}])", "", "input[0].type"},
      {R"([{"type": "function_call", "name": "f"}])", "", "input[0].call_id"},
      {R"([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{"}])", "",
       "input[0].arguments"},
      {R"([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "[]"}])", "",
       "input[0].arguments"},
      {R"([{"type": "function_call_output", "call_id": "c", "output": "x"}])", "",
       "input[0].call_id"},
      {kFine, R"("instructions": 1)", "instructions"},
      {kFine, R"("max_output_tokens": 0)", "max_output_tokens"},
      {kFine, R"("temperature": 3)", "temperature"},
      {kFine, R"("top_logprobs": 1)", "top_logprobs"},
      {kFine, R"("include": ["message.output_text.logprobs"])", "include"},
      {kFine, R"("include": [1])", "include"},
      {kFine, R"("truncation": "auto")", "truncation"},
      {kFine, R"("truncation": "some")", "truncation"},
      {kFine, R"("text": {"format": {"type": "json_schema"}})", "text.format.schema"},
      {kFine, R"("text": {"verbosity": "low"})", "text.verbosity"},
      {kFine, R"("reasoning": {"effort": "none"})", "reasoning.effort"},
      {kFine, R"("previous_response_id": "resp_1")", "previous_response_id"},
      {kFine, R"("conversation": "conv_1")", "conversation"},
      {kFine, R"("background": true)", "background"},
      {kFine, R"("prompt": {"id": "p"})", "prompt"},
      {kFine, R"("max_tool_calls": 1)", "max_tool_calls"},
      {kFine, R"("response_format": {})", "response_format"},
      {kFine, R"("structured_outputs": {})", "structured_outputs"},
      {kFine, R"("metadata": [])", "metadata"},
      {kFine, R"("tools": [{"type": "web_search"}])", "tools[0].type"},
      {kFine, R"("tools": [{"type": "function"}])", "tools[0].name"},
      {kFine, R"("tools": [{"type": "function", "name": "f", "parameters": 1}])",
       "tools[0].parameters"},
      {kFine, R"("tool_choice": "required")", "tool_choice"},
      {kFine, R"("tool_choice": {"type": "function", "name": "f"})", "tool_choice"},
      {kFine, R"("tool_choice": {"type": "function"})", "tool_choice.name"},
      {kFine, R"("tool_choice": {"type": "allowed_tools", "mode": "auto"})", "tool_choice.type"},
      {kFine, R"("stream_options": {"include_obfuscation": 1})",
       "stream_options.include_obfuscation"},
  };
  for (const BadInput& bad : cases) {
    const auto request = parse_input(bad.input, bad.fields);
    ASSERT_FALSE(request) << bad.input << bad.fields;
    EXPECT_EQ(request.error().param, bad.param) << bad.input << bad.fields;
    EXPECT_THAT(request.error().message, HasSubstr(bad.param)) << bad.input << bad.fields;
  }
  EXPECT_EQ(parse_responses_request("{}").error().param, "input");
}

TEST(ResponsesRequest, UnknownFieldsAreReported) {
  const auto request = parse_input(R"("Hi")", R"("temprature": 0, "reasoning": {"depth": 1})");
  ASSERT_TRUE(request);
  EXPECT_THAT(request->chat.common.unknown_fields, ElementsAre("reasoning.depth", "temprature"));
}

}  // namespace
}  // namespace tetrad::api
