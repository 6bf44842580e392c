// The answers of the Responses API and of Anthropic's: whole, streamed, and that they are the same.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "api/event_writer_for_tests.h"
#include "api/messages_format.h"
#include "api/responses_format.h"

namespace tetrad::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using MakeResponder =
    std::function<std::shared_ptr<Responder>(bool stream, std::shared_ptr<ResponseWriter>)>;

MakeResponder messages(bool show_thinking = true, bool cut = false) {
  return [=](bool stream, std::shared_ptr<ResponseWriter> writer) {
    return messages_responder({.id = "msg_1",
                               .model = "m",
                               .stream = stream,
                               .show_thinking = show_thinking,
                               .max_tokens_were_cut = cut},
                              10, std::move(writer));
  };
}

MakeResponder responses() {
  return [](bool stream, std::shared_ptr<ResponseWriter> writer) {
    return responses_responder({.id = "resp_1",
                                .created = 12,
                                .model = "m",
                                .stream = stream,
                                .echo = {{"tool_choice", "auto"}}},
                               10, std::move(writer));
  };
}

std::shared_ptr<EventWriter> answer(const MakeResponder& make, bool stream,
                                    const std::vector<AnswerEvent>& events) {
  auto writer = std::make_shared<EventWriter>();
  const auto responder = make(stream, writer);
  responder->accepted();
  for (const AnswerEvent& event : events)
    responder->on_answer(event);
  return writer;
}

/// Thinking, text and two calls, in pieces.
std::vector<AnswerEvent> long_answer(FinishReason reason = FinishReason::stop) {
  return {
      {.reasoning = "Let ", .num_tokens = 1, .num_reasoning_tokens = 1, .num_cached_tokens = 4},
      {.reasoning = "me", .content = "I ", .num_tokens = 2, .num_reasoning_tokens = 1},
      {.content = "look", .num_tokens = 1},
      {.tool_calls = {{.index = 0, .id = "call_a", .name = "f", .arguments = ""}}, .num_tokens = 1},
      {.tool_calls = {{.index = 0, .arguments = "{\"x\": "}}, .num_tokens = 1},
      {.tool_calls = {{.index = 0, .arguments = "1}"},
                      {.index = 1, .id = "call_b", .name = "g", .arguments = "{}"}},
       .num_tokens = 3},
      {.num_tokens = 1, .finish_reason = reason, .calls_tools = reason == FinishReason::stop}};
}

std::vector<AnswerEvent> failed_answer() {
  return {
      {.content = "a", .num_tokens = 1},
      {.finish_reason = FinishReason::error, .error = Error{ErrorCode::internal, "secret", ""}}};
}

std::vector<std::string> names(const std::vector<EventWriter::Event>& events) {
  std::vector<std::string> result;
  for (const EventWriter::Event& event : events) {
    EXPECT_EQ(event.name, event.data.at("type").as_string());
    result.push_back(event.name);
  }
  return result;
}

/// What Anthropic's client makes of a stream.
json::value fold_messages(const std::vector<EventWriter::Event>& events) {
  json::value message;
  std::string input;
  for (const auto& [name, data] : events) {
    if (name == "message_start") {
      message = data.at("message");
    } else if (name == "content_block_start") {
      EXPECT_EQ(data.at("index"), message.at("content").as_array().size());
      message.at("content").as_array().push_back(data.at("content_block"));
      input.clear();
    } else if (name == "content_block_delta") {
      json::object& block = message.at("content").as_array().back().as_object();
      const json::object& delta = data.at("delta").as_object();
      const std::string_view type = delta.at("type").as_string();
      if (type == "input_json_delta") {
        input += delta.at("partial_json").as_string();
        continue;
      }
      const std::string_view field = type.substr(0, type.find('_'));
      block[field].as_string().append(std::string_view(delta.at(field).as_string()));
    } else if (name == "content_block_stop") {
      json::object& block = message.at("content").as_array().back().as_object();
      if (block.at("type") == "tool_use") block["input"] = parse_json(input).value();
    } else if (name == "message_delta") {
      for (const auto& [key, value] : data.at("delta").as_object())
        message.as_object()[key] = value;
      for (const auto& [key, value] : data.at("usage").as_object())
        message.at("usage").as_object()[key] = value;
    }
  }
  return message;
}

TEST(MessagesAnswer, Whole) {
  const auto writer = answer(messages(), false, long_answer());
  EXPECT_EQ(writer->response().body,
            R"({"id":"msg_1","type":"message","role":"assistant","model":"m","content":[)"
            R"({"type":"thinking","thinking":"Let me","signature":"unsigned"},)"
            R"({"type":"text","text":"I look","citations":null},)"
            R"({"type":"tool_use","id":"toolu_a","name":"f","input":{"x":1}},)"
            R"({"type":"tool_use","id":"toolu_b","name":"g","input":{}}],)"
            R"("stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":6,)"
            R"("cache_creation_input_tokens":0,"cache_read_input_tokens":4,"output_tokens":10,)"
            R"("output_tokens_details":{"thinking_tokens":2}}})");
}

TEST(MessagesAnswer, Stream) {
  const auto events = answer(messages(), true, long_answer())->events();
  EXPECT_THAT(
      names(events),
      ElementsAre("message_start", "content_block_start", "content_block_delta",
                  "content_block_delta", "content_block_delta", "content_block_stop",
                  "content_block_start", "content_block_delta", "content_block_delta",
                  "content_block_stop", "content_block_start", "content_block_delta",
                  "content_block_delta", "content_block_stop", "content_block_start",
                  "content_block_delta", "content_block_stop", "message_delta", "message_stop"));
  EXPECT_EQ(fold_messages(events), answer(messages(), false, long_answer())->body());
}

TEST(MessagesAnswer, ThinkingCanBeLeftOut) {
  const json::value whole = answer(messages(false), false, long_answer())->body();
  EXPECT_EQ(whole.at("content").at(0).at("type"), "text");
  EXPECT_EQ(whole.at("usage").at("output_tokens"), 10);
  EXPECT_EQ(fold_messages(answer(messages(false), true, long_answer())->events()), whole);
}

TEST(MessagesAnswer, SaysWhyItEnded) {
  const auto reason = [](AnswerEvent last, bool cut = false) {
    const json::value whole = answer(messages(true, cut), false, {std::move(last)})->body();
    return to_json_text(json::array{whole.at("stop_reason"), whole.at("stop_sequence")});
  };
  EXPECT_EQ(reason({.finish_reason = FinishReason::stop}), R"(["end_turn",null])");
  EXPECT_EQ(reason({.finish_reason = FinishReason::stop, .stop_reason = "END"}),
            R"(["stop_sequence","END"])");
  EXPECT_EQ(reason({.finish_reason = FinishReason::length}), R"(["max_tokens",null])");
  EXPECT_EQ(reason({.finish_reason = FinishReason::length}, true),
            R"(["model_context_window_exceeded",null])");
  EXPECT_EQ(reason({.finish_reason = FinishReason::stop, .calls_tools = true}),
            R"(["tool_use",null])");
  EXPECT_EQ(reason({.finish_reason = FinishReason::length, .calls_tools = true}),
            R"(["max_tokens",null])");
}

TEST(MessagesAnswer, FailuresHaveAnthropicsForm) {
  const JsonResponse whole = answer(messages(), false, failed_answer())->response();
  EXPECT_EQ(whole.status, 500);
  EXPECT_THAT(whole.body, HasSubstr(R"({"type":"error","error":{"type":"api_error")"));
  const auto last = answer(messages(), true, failed_answer())->events().back();
  EXPECT_EQ(last.name, "error");
  EXPECT_EQ(to_json_text(last.data), whole.body);
  EXPECT_THAT(whole.body, testing::Not(HasSubstr("secret")));
}

/// Ids are drawn: they are checked for being different and then taken out.
json::value without_item_ids(json::value response) {
  std::set<std::string> ids;
  for (json::value& item : response.at("output").as_array()) {
    EXPECT_TRUE(ids.insert(std::string(item.at("id").as_string())).second);
    item.as_object()["id"] = "";
  }
  response.as_object()["completed_at"] = nullptr;
  return response;
}

/// What a client makes of the items of a stream.
json::array fold_items(const std::vector<EventWriter::Event>& events) {
  json::array items;
  int64_t sequence_number = 0;
  for (const auto& [name, data] : events) {
    EXPECT_EQ(data.at("sequence_number"), sequence_number++);
    if (name == "response.output_item.added") {
      EXPECT_EQ(data.at("output_index"), items.size());
      items.push_back(data.at("item"));
      continue;
    }
    const json::value* output_index = data.as_object().if_contains("output_index");
    if (output_index == nullptr) continue;
    json::object& item = items.at(output_index->to_number<size_t>()).as_object();
    if (name == "response.output_item.done") {
      // The deltas made the same of it, but for the status.
      item["status"] = data.at("item").at("status");
      EXPECT_EQ(json::value(item), data.at("item"));
      continue;
    }
    EXPECT_EQ(data.at("item_id"), item.at("id"));
    if (name == "response.content_part.added") {
      item["content"].as_array().push_back(data.at("part"));
    } else if (name == "response.function_call_arguments.delta") {
      item["arguments"].as_string().append(std::string_view(data.at("delta").as_string()));
    } else if (name == "response.function_call_arguments.done") {
      EXPECT_EQ(item["arguments"], data.at("arguments"));
    } else if (name.ends_with(".delta")) {
      json::object& part = item["content"].as_array().at(0).as_object();
      part["text"].as_string().append(std::string_view(data.at("delta").as_string()));
    } else if (name == "response.content_part.done") {
      EXPECT_EQ(item["content"].at(0), data.at("part"));
    } else {
      EXPECT_EQ(item["content"].at(0).at("text"), data.at("text")) << name;
    }
  }
  return items;
}

TEST(ResponsesAnswer, Whole) {
  const json::value whole = without_item_ids(answer(responses(), false, long_answer())->body());
  EXPECT_EQ(
      to_json_text(whole),
      R"({"id":"resp_1","object":"response","created_at":12,"status":"completed",)"
      R"("completed_at":null,"error":null,"incomplete_details":null,"model":"m","output":[)"
      R"({"id":"","type":"reasoning","summary":[],"encrypted_content":null,"status":"completed",)"
      R"("content":[{"type":"reasoning_text","text":"Let me"}]},)"
      R"({"id":"","type":"message","role":"assistant","status":"completed","content":[)"
      R"({"type":"output_text","text":"I look","annotations":[],"logprobs":[]}]},)"
      R"({"id":"","type":"function_call","status":"completed","arguments":"{\"x\": 1}",)"
      R"("call_id":"call_a","name":"f"},)"
      R"({"id":"","type":"function_call","status":"completed","arguments":"{}",)"
      R"("call_id":"call_b","name":"g"}],"usage":{"input_tokens":10,)"
      R"("input_tokens_details":{"cached_tokens":4},"output_tokens":10,)"
      R"("output_tokens_details":{"reasoning_tokens":2},"total_tokens":20},)"
      R"("tool_choice":"auto"})");
}

TEST(ResponsesAnswer, Stream) {
  const auto events =
      answer(responses(), true,
             {{.reasoning = "r", .num_tokens = 1},
              {.content = "a", .num_tokens = 1},
              {.content = "b", .num_tokens = 1, .finish_reason = FinishReason::stop}})
          ->events();
  EXPECT_THAT(
      names(events),
      ElementsAre("response.created", "response.in_progress", "response.output_item.added",
                  "response.content_part.added", "response.reasoning_text.delta",
                  "response.reasoning_text.done", "response.content_part.done",
                  "response.output_item.done", "response.output_item.added",
                  "response.content_part.added", "response.output_text.delta",
                  "response.output_text.delta", "response.output_text.done",
                  "response.content_part.done", "response.output_item.done", "response.completed"));
  EXPECT_EQ(events.front().data.at("response").at("status"), "in_progress");
}

TEST(ResponsesAnswer, StreamedEqualsWhole) {
  for (const FinishReason reason : {FinishReason::stop, FinishReason::length}) {
    const auto events = answer(responses(), true, long_answer(reason))->events();
    const json::value& last = events.back().data.at("response");
    EXPECT_EQ(json::value(fold_items(events)), last.at("output"));
    EXPECT_EQ(without_item_ids(last),
              without_item_ids(answer(responses(), false, long_answer(reason))->body()));
  }
}

TEST(ResponsesAnswer, ACutOffAnswerIsIncomplete) {
  const auto events = answer(responses(), true, long_answer(FinishReason::length))->events();
  EXPECT_EQ(events.back().name, "response.incomplete");
  const json::value& response = events.back().data.at("response");
  EXPECT_EQ(response.at("status"), "incomplete");
  EXPECT_EQ(response.at("incomplete_details").at("reason"), "max_output_tokens");
  EXPECT_EQ(response.at("output").at(2).at("status"), "completed");
  EXPECT_EQ(response.at("output").at(3).at("status"), "incomplete");
}

TEST(ResponsesAnswer, Failures) {
  const JsonResponse whole = answer(responses(), false, failed_answer())->response();
  EXPECT_EQ(whole.status, 500);
  const auto last = answer(responses(), true, failed_answer())->events().back();
  EXPECT_EQ(last.name, "response.failed");
  EXPECT_EQ(last.data.at("response").at("status"), "failed");
  EXPECT_EQ(last.data.at("response").at("error").at("code"), "server_error");
  EXPECT_THAT(to_json_text(last.data), testing::Not(HasSubstr("secret")));
}

/// Any answer there may be: kinds in any order, calls in pieces.
std::vector<AnswerEvent> any_answer() {
  std::vector<AnswerEvent> events;
  int64_t num_calls = 0;
  bool call_is_open = false;
  const auto close_call = [&] {
    if (!std::exchange(call_is_open, false)) return;
    events.push_back({.tool_calls = {{.index = num_calls - 1, .arguments = "\"}"}}});
  };
  for (const int kind : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 4))) {
    const std::string text = *rc::gen::element<std::string>("a", "b\"", "é", "");
    if (kind < 3) close_call();
    if (kind == 0) events.push_back({.reasoning = text, .num_tokens = 1});
    if (kind == 1) events.push_back({.content = text, .num_tokens = 1});
    if (kind == 2) {
      events.push_back({.tool_calls = {{.index = num_calls,
                                        .id = fmt::format("call_{}", num_calls),
                                        .name = "f",
                                        .arguments = "{\"k\": \""}}});
      ++num_calls;
      call_is_open = true;
    }
    if (kind == 3 && call_is_open) {
      events.push_back({.tool_calls = {{.index = num_calls - 1, .arguments = "x"}}});
    }
  }
  close_call();
  const auto reason = *rc::gen::element(FinishReason::stop, FinishReason::length);
  events.push_back({.num_tokens = 1, .finish_reason = reason, .calls_tools = num_calls > 0});
  return events;
}

RC_GTEST_PROP(MessagesAnswer, StreamedEqualsWholeForAnyAnswer, ()) {
  const auto events = any_answer();
  const bool show = *rc::gen::arbitrary<bool>();
  RC_ASSERT(fold_messages(answer(messages(show), true, events)->events()) ==
            answer(messages(show), false, events)->body());
}

RC_GTEST_PROP(ResponsesAnswer, StreamedEqualsWholeForAnyAnswer, ()) {
  const auto events = any_answer();
  const auto streamed = answer(responses(), true, events)->events();
  const json::value& last = streamed.back().data.at("response");
  RC_ASSERT(json::value(fold_items(streamed)) == last.at("output"));
  RC_ASSERT(without_item_ids(last) == without_item_ids(answer(responses(), false, events)->body()));
}

}  // namespace
}  // namespace tetrad::api
