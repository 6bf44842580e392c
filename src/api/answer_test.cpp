#include "api/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "api/responders.h"

namespace tetrad::api {
namespace {

using testing::HasSubstr;

/// Keeps what a client would have got.
class RecordingWriter final : public ResponseWriter {
 public:
  std::optional<JsonResponse> response;
  std::vector<std::string> events;
  int starts = 0;
  int finishes = 0;

  void send(JsonResponse whole) override {
    EXPECT_FALSE(response);
    response = std::move(whole);
  }
  void start_events(std::vector<Header>) override { ++starts; }
  void send_event(std::string_view data) override {
    EXPECT_EQ(starts, 1);
    EXPECT_EQ(finishes, 0);
    events.emplace_back(data);
  }
  void finish_events() override { ++finishes; }
  void on_disconnect(std::function<void()>) override {}
};

AnswerHeader header(Dialect dialect) {
  return {.dialect = dialect,
          .id = "id-1",
          .created = 12,
          .model = "m",
          .system_fingerprint = "fp",
          .include_usage = true};
}

/// An answer as the engine tells it: texts step by step, one token each.
std::vector<GenerationEvent> engine_events(const std::vector<std::string>& texts,
                                           FinishReason reason = FinishReason::stop) {
  std::vector<GenerationEvent> events;
  for (const std::string& text : texts)
    events.push_back({.token_ids = {1}, .text = text});
  events.push_back({.token_ids = {2}, .finish_reason = reason});
  return events;
}

template <class ResponderType>
std::shared_ptr<RecordingWriter> respond(const AnswerHeader& answer_header, ReasoningMode mode,
                                         const std::vector<GenerationEvent>& events) {
  auto writer = std::make_shared<RecordingWriter>();
  auto responder = std::make_shared<ResponderType>(AnswerFormat(answer_header), 10, writer);
  AnswerReader reader(mode, /*starts_in_reasoning=*/true, responder);
  responder->accepted();
  for (const GenerationEvent& event : events)
    reader.on_event(event);
  return writer;
}

/// What a client makes of a stream.
struct Folded {
  std::string text;
  std::string reasoning;
  std::string reasoning_content;
  std::string finish_reason;
  int roles = 0;
  json::value usage;
};

std::string string_or_empty(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

Folded fold(const std::vector<std::string>& events) {
  Folded folded;
  EXPECT_EQ(events.back(), "[DONE]");
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const json::object chunk = parse_json(events[i])->get_object();
    EXPECT_EQ(chunk.at("id"), "id-1");
    if (chunk.at("choices").get_array().empty()) {
      folded.usage = chunk.at("usage");
      continue;
    }
    EXPECT_TRUE(chunk.at("usage").is_null());
    const json::object& choice = chunk.at("choices").at(0).get_object();
    folded.finish_reason += string_or_empty(choice, "finish_reason");
    folded.text += string_or_empty(choice, "text");
    if (!choice.contains("delta")) continue;
    const json::object& delta = choice.at("delta").get_object();
    folded.text += string_or_empty(delta, "content");
    folded.reasoning += string_or_empty(delta, "reasoning");
    folded.reasoning_content += string_or_empty(delta, "reasoning_content");
    folded.roles += delta.contains("role") ? 1 : 0;
  }
  return folded;
}

TEST(Answer, WholeChatHasTheOpenAiForm) {
  const auto writer = respond<WholeResponder>(header(Dialect::chat), ReasoningMode::split,
                                              engine_events({"I add.\n", "</think>", "\n\n", "4"}));
  ASSERT_TRUE(writer->response);
  EXPECT_EQ(writer->response->status, 200);
  EXPECT_EQ(
      writer->response->body,
      R"({"id":"id-1","object":"chat.completion","created":12,"model":"m","system_fingerprint":"fp",)"
      R"("choices":[{"index":0,"message":{"role":"assistant","content":"4","refusal":null,)"
      R"("reasoning":"I add.","reasoning_content":"I add."},"logprobs":null,)"
      R"("finish_reason":"stop","stop_reason":null}],)"
      R"("usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,)"
      R"("completion_tokens_details":{"reasoning_tokens":2}}})");
}

TEST(Answer, CutOffWhileThinkingThereIsNoContent) {
  const auto writer = respond<WholeResponder>(header(Dialect::chat), ReasoningMode::split,
                                              engine_events({"I add"}, FinishReason::length));
  EXPECT_THAT(writer->response->body, HasSubstr(R"("content":null)"));
  EXPECT_THAT(writer->response->body, HasSubstr(R"("reasoning":"I add")"));
  EXPECT_THAT(writer->response->body, HasSubstr(R"("finish_reason":"length")"));
}

TEST(Answer, ReasoningMayBeLeftOut) {
  AnswerHeader without = header(Dialect::chat);
  without.include_reasoning = false;
  const auto events = engine_events({"I add.\n", "</think>", "\n\n", "4"});
  const auto whole = respond<WholeResponder>(without, ReasoningMode::split, events);
  EXPECT_THAT(whole->response->body, HasSubstr(R"("reasoning":null)"));
  EXPECT_THAT(whole->response->body, HasSubstr(R"("content":"4")"));
  const auto stream = respond<StreamResponder>(without, ReasoningMode::split, events);
  EXPECT_EQ(fold(stream->events).reasoning, "");
  EXPECT_EQ(fold(stream->events).text, "4");
}

TEST(Answer, AppendThinkKeepsTheThinkingInTheContent) {
  const auto events = engine_events({"I add.\n", "</think>", "\n\n4"});
  const auto whole =
      respond<WholeResponder>(header(Dialect::chat), ReasoningMode::append_think, events);
  EXPECT_THAT(whole->response->body, HasSubstr(R"("content":"<think>I add.\n</think>\n\n4")"));
  EXPECT_THAT(whole->response->body, HasSubstr(R"("reasoning_content":null)"));
  const auto stream =
      respond<StreamResponder>(header(Dialect::chat), ReasoningMode::append_think, events);
  EXPECT_EQ(fold(stream->events).text, "<think>I add.\n</think>\n\n4");
}

TEST(Answer, StopStringsAreNamed) {
  auto events = engine_events({"one two"});
  events.back().stop_reason = "three";
  const auto writer =
      respond<WholeResponder>(header(Dialect::completion), ReasoningMode::plain, events);
  EXPECT_THAT(writer->response->body, HasSubstr(R"("object":"text_completion")"));
  EXPECT_THAT(writer->response->body, HasSubstr(R"("text":"one two")"));
  EXPECT_THAT(writer->response->body, HasSubstr(R"("stop_reason":"three")"));
}

TEST(Answer, UsageComesInTheStreamOnlyIfAskedFor) {
  AnswerHeader without = header(Dialect::chat);
  without.include_usage = false;
  const auto stream = respond<StreamResponder>(without, ReasoningMode::split, engine_events({"a"}));
  for (const std::string& event : stream->events)
    EXPECT_THAT(event, testing::Not(HasSubstr("usage")));
  EXPECT_EQ(stream->events.back(), "[DONE]");
}

TEST(Answer, AnErrorOnTheWayEndsTheStream) {
  std::vector<GenerationEvent> events = engine_events({"a"}, FinishReason::error);
  events.back().error = Error{ErrorCode::internal, "logits are not numbers", ""};
  const auto stream = respond<StreamResponder>(header(Dialect::chat), ReasoningMode::split, events);
  EXPECT_THAT(stream->events.back(), HasSubstr(R"({"error":{"message":)"));
  EXPECT_EQ(stream->finishes, 1);
  const auto whole = respond<WholeResponder>(header(Dialect::chat), ReasoningMode::split, events);
  EXPECT_EQ(whole->response->status, 500);
  events.back() = {.finish_reason = FinishReason::cancelled};
  const auto stopped = respond<WholeResponder>(header(Dialect::chat), ReasoningMode::split, events);
  EXPECT_EQ(stopped->response->status, 503);
}

/// Texts made of what the splitter looks for, and of letters around it.
rc::Gen<std::vector<std::string>> pieces() {
  return rc::gen::container<std::vector<std::string>>(
      rc::gen::element<std::string>("a", "é", " ", "\n", "<think>", "</think>", "</th", "ink>", "<",
                                    "<minimax:tool_call>", "", "\"", "\\"));
}

RC_GTEST_PROP(Answer, StreamedEqualsWhole, ()) {
  const auto events = engine_events(*pieces());
  const auto dialect = *rc::gen::element(Dialect::chat, Dialect::completion);
  const auto mode = dialect == Dialect::completion
                        ? ReasoningMode::plain
                        : *rc::gen::element(ReasoningMode::split, ReasoningMode::append_think);
  const auto stream = respond<StreamResponder>(header(dialect), mode, events);
  const auto whole = respond<WholeResponder>(header(dialect), mode, events);
  const Folded folded = fold(stream->events);
  const json::object object = parse_json(whole->response->body)->get_object();
  const json::object& choice = object.at("choices").at(0).get_object();
  RC_ASSERT(folded.finish_reason == "stop");
  RC_ASSERT(folded.usage == object.at("usage"));
  if (dialect == Dialect::completion) {
    RC_ASSERT(folded.text == string_or_empty(choice, "text"));
    return;
  }
  const json::object& message = choice.at("message").get_object();
  RC_ASSERT(folded.roles == 1);
  RC_ASSERT(folded.text == string_or_empty(message, "content"));
  RC_ASSERT(folded.reasoning == string_or_empty(message, "reasoning"));
  RC_ASSERT(folded.reasoning_content == string_or_empty(message, "reasoning_content"));
}

}  // namespace
}  // namespace tetrad::api
