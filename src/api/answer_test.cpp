#include "api/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>
#include <algorithm>

#include <map>

#include "api/answer_gate.h"
#include "api/responders.h"
#include "engine/bundled_model.h"

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
  void send_event(std::string_view data, std::string_view /*name*/) override {
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

/// Log probabilities of `id`, different for each, with two more at the top.
TokenLogprobs some_logprobs(TokenId id) {
  const float value = -0.5f * static_cast<float>(id % 7);
  return {.token = {.id = id, .logprob = value},
          .rank = 3,
          .top = {{.id = id + 1, .logprob = value / 4}, {.id = id + 2, .logprob = value / 2}}};
}

/// Where a text has tags, as if each were a token.
std::vector<TextSpan> tags_in(std::string_view text) {
  std::vector<TextSpan> spans;
  for (const std::string_view tag :
       {"<think>", "</think>", "<minimax:tool_call>", "</minimax:tool_call>"}) {
    for (size_t at = text.find(tag); at != text.npos; at = text.find(tag, at + 1))
      spans.push_back({at, at + tag.size()});
  }
  std::ranges::sort(spans, {}, &TextSpan::begin);
  return spans;
}

/// An answer as the engine tells it: texts step by step, one token each.
std::vector<GenerationEvent> engine_events(const std::vector<std::string>& texts,
                                           FinishReason reason = FinishReason::stop) {
  std::vector<GenerationEvent> events;
  events.reserve(texts.size() + 1);
  for (const std::string& text : texts)
    events.push_back({.token_ids = {1}, .text = text, .tags = tags_in(text)});
  events.push_back({.token_ids = {2}, .finish_reason = reason});
  return events;
}

/// A responder with the gate and the readers in front of it, as the service puts them together.
template <class ResponderType>
class Pipeline {
 public:
  Pipeline(const AnswerHeader& answer_header, AnswerPlan plan)
      : gate_(std::make_shared<AnswerGate>(
            std::make_shared<ResponderType>(AnswerFormat(answer_header, bundled_tokenizer()), 10,
                                            writer),
            answer_header.num_answers)) {
    for (; plan.index < answer_header.num_answers; ++plan.index)
      readers.push_back(std::make_unique<AnswerReader>(bundled_tokenizer(), plan, gate_));
  }

  void open() {
    gate_->open([this] { ++cancels; });
  }
  void close() { gate_->close(); }

  std::shared_ptr<RecordingWriter> writer = std::make_shared<RecordingWriter>();
  std::vector<std::unique_ptr<AnswerReader>> readers;
  int cancels = 0;

 private:
  std::shared_ptr<AnswerGate> gate_;
};

template <class ResponderType>
std::shared_ptr<RecordingWriter> respond(const AnswerHeader& answer_header, const AnswerPlan& plan,
                                         const std::vector<GenerationEvent>& events) {
  Pipeline<ResponderType> pipeline(answer_header, plan);
  pipeline.open();
  for (const GenerationEvent& event : events)
    pipeline.readers.front()->on_event(event);
  return pipeline.writer;
}

template <class ResponderType>
std::shared_ptr<RecordingWriter> respond(const AnswerHeader& answer_header, ReasoningMode mode,
                                         const std::vector<GenerationEvent>& events) {
  return respond<ResponderType>(answer_header,
                                AnswerPlan{.mode = mode, .starts_in_reasoning = true}, events);
}

/// A plan with the tool f, whose parameter a is a string and n an integer.
AnswerPlan plan_with_tools() {
  const json::object parameters =
      parse_json(R"({"properties":{"a":{"type":"string"},"n":{"type":"integer"}}})")->get_object();
  return {.mode = ReasoningMode::split,
          .starts_in_reasoning = true,
          .tools = std::make_shared<const std::vector<ToolDefinition>>(
              std::vector<ToolDefinition>{{.name = "f", .parameters = parameters}})};
}

json::object first_choice(const RecordingWriter& writer) {
  return parse_json(writer.response->body)->at("choices").at(0).get_object();
}

/// What a client makes of a stream.
struct Folded {
  std::string text;
  std::string reasoning;
  std::string reasoning_content;
  std::string finish_reason;
  int roles = 0;
  json::array tool_calls;  // without the indices
  json::value usage;
  json::value logprobs;  // lists put together
};

void append_lists(json::value& lists, const json::value& more) {
  if (more.is_null()) return;
  if (lists.is_null()) {
    lists = more;
    return;
  }
  for (auto& [name, list] : lists.get_object()) {
    if (!list.is_array()) continue;
    for (const json::value& item : more.at(name).get_array())
      list.get_array().push_back(item);
  }
}

std::string string_or_empty(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

/// Puts the pieces of calls together as OpenAI's clients do.
void fold_calls(const json::object& delta, json::array& calls) {
  const json::value* pieces = delta.if_contains("tool_calls");
  if (pieces == nullptr) return;
  for (const json::value& value : pieces->get_array()) {
    json::object piece = value.get_object();
    const auto index = piece.at("index").to_number<size_t>();
    piece.erase("index");
    if (index == calls.size()) {
      EXPECT_EQ(piece.at("function").at("arguments"), "");
      EXPECT_THAT(string_or_empty(piece, "id"), testing::MatchesRegex("call_[0-9a-f]{24,}"));
      calls.emplace_back(std::move(piece));
      continue;
    }
    ASSERT_EQ(index + 1, calls.size());
    EXPECT_EQ(piece.size(), 1U);  // neither id nor type
    EXPECT_EQ(piece.at("function").get_object().size(), 1U);
    const std::string more = string_or_empty(piece.at("function").get_object(), "arguments");
    EXPECT_NE(more, "");
    json::value& arguments = calls.at(index).at("function").at("arguments");
    arguments = std::string(arguments.get_string()) + more;
  }
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
    append_lists(folded.logprobs, choice.at("logprobs"));
    if (!choice.contains("delta")) continue;
    const json::object& delta = choice.at("delta").get_object();
    folded.text += string_or_empty(delta, "content");
    folded.reasoning += string_or_empty(delta, "reasoning");
    folded.reasoning_content += string_or_empty(delta, "reasoning_content");
    folded.roles += delta.contains("role") ? 1 : 0;
    fold_calls(delta, folded.tool_calls);
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
      R"("prompt_tokens_details":{"cached_tokens":0},)"
      R"("completion_tokens_details":{"reasoning_tokens":2}}})");
}

TEST(Answer, CutOffWhileThinkingThereIsNoContent) {
  const auto writer = respond<WholeResponder>(header(Dialect::chat), ReasoningMode::split,
                                              engine_events({"I add"}, FinishReason::length));
  EXPECT_THAT(writer->response->body, HasSubstr(R"("content":null)"));
  EXPECT_THAT(writer->response->body, HasSubstr(R"("reasoning":"I add")"));
  EXPECT_THAT(writer->response->body, HasSubstr(R"("finish_reason":"length")"));
}

const std::vector<std::string> kCallTexts = {
    "I look.\n</think>\n\n<minimax:tool_call>\n<invoke name=\"f\">\n<para", "meter name=\"a\">x",
    "y</parameter>\n<parameter name=\"n\">5</parameter>\n", "</invoke>\n</minimax:tool_call>"};

TEST(ToolCalls, OfAWholeChat) {
  const auto writer =
      respond<WholeResponder>(header(Dialect::chat), plan_with_tools(), engine_events(kCallTexts));
  const json::value choice = parse_json(writer->response->body)->at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  const json::value& message = choice.at("message");
  EXPECT_EQ(message.at("content"), nullptr);
  EXPECT_EQ(message.at("reasoning"), "I look.");
  ASSERT_EQ(message.at("tool_calls").get_array().size(), 1U);
  json::object call = message.at("tool_calls").at(0).get_object();
  EXPECT_THAT(string_or_empty(call, "id"), testing::MatchesRegex("call_[0-9a-f]{24,}"));
  call["id"] = "ID";
  EXPECT_EQ(to_json_text(call),
            R"({"id":"ID","type":"function","function":{"name":"f","arguments":)"
            R"("{\"a\": \"xy\", \"n\": 5}"}})");
}

TEST(ToolCalls, OfAStream) {
  const auto writer =
      respond<StreamResponder>(header(Dialect::chat), plan_with_tools(), engine_events(kCallTexts));
  std::vector<std::string> deltas;
  for (const std::string& event : writer->events) {
    if (event.find("tool_calls\":") == std::string::npos) continue;
    json::value delta = parse_json(event)->at("choices").at(0).at("delta");
    json::object& piece = delta.at("tool_calls").at(0).get_object();
    if (piece.contains("id")) piece["id"] = "ID";
    deltas.push_back(to_json_text(delta));
  }
  EXPECT_THAT(
      deltas,
      testing::ElementsAre(
          R"({"reasoning":"I look.","reasoning_content":"I look.","tool_calls":[{"index":0,)"
          R"("id":"ID","type":"function","function":{"name":"f","arguments":""}}]})",
          R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\": \"x"}}]})",
          R"({"tool_calls":[{"index":0,"function":{"arguments":"y\""}}]})",
          // A value's end is certain when a tag follows that can't be part of it.
          R"({"tool_calls":[{"index":0,"function":{"arguments":", \"n\": 5}"}}]})"));
  EXPECT_EQ(fold(writer->events).finish_reason, "tool_calls");
}

TEST(ToolCalls, BeginningAndArgumentsInOneEventAreTwoChunks) {
  std::string text;
  for (const std::string& part : kCallTexts)
    text += part;
  auto events = engine_events({text});
  events.front().logprobs = {some_logprobs(3)};
  AnswerPlan plan = plan_with_tools();
  plan.logprobs = 0;
  const auto writer = respond<StreamResponder>(header(Dialect::chat), plan, events);
  const Folded folded = fold(writer->events);
  ASSERT_EQ(folded.tool_calls.size(), 1U);
  EXPECT_EQ(folded.tool_calls[0].at("function").at("arguments"), R"({"a": "xy", "n": 5})");
  EXPECT_EQ(folded.logprobs.at("content").get_array().size(), 1U);  // not once a chunk
}

TEST(ToolCalls, FinishReasons) {
  const auto finish_reason = [](const std::vector<std::string>& texts, FinishReason reason) {
    const auto writer = respond<WholeResponder>(header(Dialect::chat), plan_with_tools(),
                                                engine_events(texts, reason));
    return first_choice(*writer).at("finish_reason");
  };
  EXPECT_EQ(finish_reason(kCallTexts, FinishReason::length), "length");
  EXPECT_EQ(finish_reason({"</think>no call"}, FinishReason::stop), "stop");
  EXPECT_EQ(finish_reason({kCallTexts[0], kCallTexts[1]}, FinishReason::stop), "stop");  // cut off
  const std::string unknown = "<minimax:tool_call><invoke name=\"g\"></invoke></minimax:tool_call>";
  EXPECT_EQ(finish_reason({unknown}, FinishReason::stop), "stop");
}

TEST(ToolCalls, IdsAreUnique) {
  const std::string two =
      "</think><minimax:tool_call><invoke name=\"f\"></invoke><invoke name=\"f\"></invoke>";
  const auto writer =
      respond<WholeResponder>(header(Dialect::chat), plan_with_tools(), engine_events({two}));
  const json::object choice = first_choice(*writer);
  const json::array& calls = choice.at("message").at("tool_calls").get_array();
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_NE(calls[0].at("id"), calls[1].at("id"));
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

TEST(Answer, UsageTellsCachedTokens) {
  auto events = engine_events({"a", "b"});
  events.front().num_cached_tokens = 8;
  const auto whole =
      respond<WholeResponder>(header(Dialect::completion), ReasoningMode::plain, events);
  EXPECT_THAT(whole->response->body, HasSubstr(R"("prompt_tokens_details":{"cached_tokens":8})"));
}

/// The id of a token of the bundled vocabulary, by its bytes.
TokenId token_of(std::string_view bytes) {
  for (TokenId id = 0; std::cmp_less(id, bundled_tokenizer().vocab_size()); ++id) {
    if (bundled_tokenizer().token_bytes(id) == bytes) return id;
  }
  ADD_FAILURE() << "no token " << bytes;
  return 0;
}

TEST(Logprobs, OfChats) {
  const TokenId a = token_of("a");
  const TokenId half = token_of("\xC3");  // of "é"
  std::vector<GenerationEvent> events{
      {.token_ids = {a},
       .text = "a",
       .logprobs = {{.token = {a, -0.5f}, .rank = 2, .top = {{half, -0.25f}, {a, -0.5f}}}},
       .finish_reason = FinishReason::length}};
  const auto writer =
      respond<WholeResponder>(header(Dialect::chat), AnswerPlan{.logprobs = 1}, events);
  EXPECT_EQ(to_json_text(first_choice(*writer).at("logprobs")),
            R"({"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[)"
            "{\"token\":\"\uFFFD\",\"logprob\":-0.25,\"bytes\":[195]}"
            R"(]}],"refusal":null})");
}

TEST(Logprobs, OfCompletionsWithTheirPlacesInTheText) {
  const TokenId a = token_of("a");
  const TokenId first_half = token_of("\xC3");
  const TokenId second_half = token_of("\xA9");
  const TokenId end = *bundled_tokenizer().find_added_token("[e~[");
  std::vector<GenerationEvent> events;
  for (const TokenId id : {a, first_half, second_half, end, a}) {
    events.push_back(
        {.token_ids = {id}, .logprobs = {{.token = {id, -1}, .rank = 1, .top = {{a, -1.5f}}}}});
  }
  events.front().prompt_logprobs = {{.token = {a, -2}, .rank = 4, .top = {{a, -2}}}};
  events.back().text = "aéa";
  events.back().finish_reason = FinishReason::length;
  const AnswerPlan plan{.echo = EchoedPrompt{.text = "aa", .ids = {a, a}}, .logprobs = 0};
  const auto writer = respond<WholeResponder>(header(Dialect::completion), plan, events);
  const json::object choice = first_choice(*writer);
  EXPECT_EQ(choice.at("text"), "aaaéa");
  const json::object& logprobs = choice.at("logprobs").get_object();
  EXPECT_EQ(to_json_text(logprobs.at("text_offset")), "[0,1,2,3,3,4,4]");
  EXPECT_EQ(to_json_text(logprobs.at("token_logprobs")), "[null,-2.0,-1.0,-1.0,-1.0,-1.0,-1.0]");
  EXPECT_EQ(to_json_text(logprobs.at("tokens")),
            "[\"a\",\"a\",\"a\",\"\uFFFD\",\"\uFFFD\",\"[e~[\",\"a\"]");
  EXPECT_EQ(logprobs.at("top_logprobs").at(0), nullptr);
  EXPECT_EQ(to_json_text(logprobs.at("top_logprobs").at(1)), R"({"a":-2.0})");
}

TEST(Logprobs, OfThePromptAsVllmHasThem) {
  const TokenId a = token_of("a");
  const TokenId b = token_of("b");
  std::vector<GenerationEvent> events = engine_events({"x"});
  events.front().prompt_logprobs = {
      {.token = {a, -3}, .rank = 9, .top = {{b, -0.5f}, {a, -3}, {a + 1, -4}}}};
  for (const Dialect dialect : {Dialect::chat, Dialect::completion}) {
    AnswerHeader with = header(dialect);
    with.include_prompt_logprobs = true;
    const auto writer = respond<WholeResponder>(with, AnswerPlan{.prompt_logprobs = 1}, events);
    const json::value body = *parse_json(writer->response->body);
    const json::value& place = dialect == Dialect::chat ? body : body.at("choices").at(0);
    EXPECT_EQ(to_json_text(place.at("prompt_logprobs")),
              fmt::format(R"([null,{{"{}":{{"logprob":-3.0,"rank":9,"decoded_token":"a"}},)"
                          R"("{}":{{"logprob":-0.5,"rank":1,"decoded_token":"b"}}}}])",
                          a, b));
  }
}

TEST(Echo, AloneShowsNothingThatIsGenerated) {
  const EchoedPrompt echo{.text = "Once", .ids = {1}, .alone = true};
  const auto events = engine_events({"upon"});
  const auto whole =
      respond<WholeResponder>(header(Dialect::completion), AnswerPlan{.echo = echo}, events);
  EXPECT_EQ(first_choice(*whole).at("text"), "Once");
  EXPECT_EQ(first_choice(*whole).at("finish_reason"), "length");
  EXPECT_THAT(whole->response->body, HasSubstr(R"("completion_tokens":0)"));
}

/// `events` of three answers, told in turns.
template <class ResponderType>
void tell(Pipeline<ResponderType>& pipeline, const std::vector<GenerationEvent>& events) {
  for (const GenerationEvent& event : events) {
    for (const auto& reader : pipeline.readers)
      reader->on_event(event);
  }
}

AnswerHeader three_answers() {
  AnswerHeader three = header(Dialect::chat);
  three.num_answers = 3;
  return three;
}

TEST(Gate, SeveralAnswersAreOneResponse) {
  auto events = engine_events({"a", "b"});
  events.front().num_cached_tokens = 4;
  Pipeline<WholeResponder> whole(three_answers(), {});
  whole.open();
  tell(whole, events);
  const json::value body = *parse_json(whole.writer->response->body);
  ASSERT_EQ(body.at("choices").get_array().size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(body.at("choices").at(i).at("index"), i);
    EXPECT_EQ(body.at("choices").at(i).at("message").at("content"), "ab");
  }
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), 10);
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 9);
  EXPECT_EQ(body.at("usage").at("prompt_tokens_details").at("cached_tokens"), 4);

  Pipeline<StreamResponder> stream(three_answers(), {});
  stream.open();
  tell(stream, events);
  std::map<int64_t, std::string> texts;
  for (const std::string& event : stream.writer->events) {
    if (event == "[DONE]") continue;
    const json::value chunk = *parse_json(event);
    if (chunk.at("choices").get_array().empty()) {
      EXPECT_EQ(chunk.at("usage"), body.at("usage"));
      continue;
    }
    const json::object& choice = chunk.at("choices").at(0).get_object();
    texts[choice.at("index").get_int64()] +=
        string_or_empty(choice.at("delta").get_object(), "content") +
        string_or_empty(choice, "finish_reason");
  }
  EXPECT_THAT(texts, testing::ElementsAre(testing::Pair(0, "abstop"), testing::Pair(1, "abstop"),
                                          testing::Pair(2, "abstop")));
  EXPECT_EQ(stream.writer->finishes, 1);
  EXPECT_EQ(stream.cancels, 0);
}

TEST(Gate, KeepsEarlyEventsBackUntilAllAreAccepted) {
  Pipeline<StreamResponder> pipeline(three_answers(), {});
  tell(pipeline, engine_events({"a"}));
  EXPECT_EQ(pipeline.writer->starts, 0);
  pipeline.open();
  EXPECT_EQ(pipeline.writer->starts, 1);
  EXPECT_EQ(pipeline.writer->events.back(), "[DONE]");

  Pipeline<WholeResponder> refused(three_answers(), {});
  refused.readers.front()->on_event({.text = "a", .finish_reason = FinishReason::stop});
  refused.close();
  tell(refused, engine_events({}));
  EXPECT_FALSE(refused.writer->response);  // the error is the service's to send
}

TEST(Gate, AFailureEndsAllAnswers) {
  const GenerationEvent failure{.finish_reason = FinishReason::error,
                                .error = Error{ErrorCode::internal, "x", ""}};
  Pipeline<StreamResponder> stream(three_answers(), {});
  stream.open();
  tell(stream, {{.text = "a"}});
  stream.readers[1]->on_event(failure);
  EXPECT_EQ(stream.cancels, 1);
  tell(stream, {{.finish_reason = FinishReason::cancelled}});  // the others, as they end
  EXPECT_EQ(stream.cancels, 1);
  EXPECT_EQ(stream.writer->finishes, 1);
  EXPECT_THAT(stream.writer->events.back(), HasSubstr(R"({"error":)"));

  Pipeline<WholeResponder> early(three_answers(), {});
  early.readers[0]->on_event(failure);
  EXPECT_EQ(early.cancels, 0);  // not known yet how
  early.open();
  EXPECT_EQ(early.cancels, 1);
  EXPECT_EQ(early.writer->response->status, 500);

  AnswerHeader one = three_answers();
  one.num_answers = 1;
  Pipeline<WholeResponder> single(one, {});
  single.open();
  single.readers[0]->on_event(failure);
  EXPECT_EQ(single.cancels, 0);  // nothing is left to cancel
}

/// Texts made of what the parser looks for, and of letters around it.
rc::Gen<std::vector<std::string>> pieces() {
  return rc::gen::container<std::vector<std::string>>(rc::gen::element<std::string>(
      "a", "é", " ", "\n", "<think>", "</think>", "</th", "ink>", "<", "<minimax:tool_call>",
      "<invoke name=\"f\">", "</invoke>", "<parameter name=\"a\">", "</parameter>", "5",
      "</minimax:tool_call>", "", "\"", "\\"));
}

json::array without_ids(json::array calls) {
  for (json::value& call : calls)
    call.get_object().erase("id");
  return calls;
}

RC_GTEST_PROP(Answer, StreamedEqualsWhole, ()) {
  auto events = engine_events(*pieces());
  for (GenerationEvent& event : events) {
    event.token_ids = {*rc::gen::inRange<TokenId>(0, 4000)};
    event.logprobs = {some_logprobs(event.token_ids.front())};
  }
  const auto dialect = *rc::gen::element(Dialect::chat, Dialect::completion);
  const auto mode = dialect == Dialect::completion
                        ? ReasoningMode::plain
                        : *rc::gen::element(ReasoningMode::split, ReasoningMode::append_think);
  AnswerPlan plan = plan_with_tools();
  plan.mode = mode;
  if (*rc::gen::arbitrary<bool>()) plan.logprobs = *rc::gen::inRange(0, 3);
  const auto stream = respond<StreamResponder>(header(dialect), plan, events);
  const auto whole = respond<WholeResponder>(header(dialect), plan, events);
  const Folded folded = fold(stream->events);
  const json::object object = parse_json(whole->response->body)->get_object();
  const json::object& choice = object.at("choices").at(0).get_object();
  RC_ASSERT(folded.finish_reason == string_or_empty(choice, "finish_reason"));
  RC_ASSERT(folded.usage == object.at("usage"));
  RC_ASSERT(folded.logprobs == choice.at("logprobs"));
  if (dialect == Dialect::completion) {
    RC_ASSERT(folded.text == string_or_empty(choice, "text"));
    return;
  }
  const json::object& message = choice.at("message").get_object();
  RC_ASSERT(folded.roles == 1);
  const json::value* calls = message.if_contains("tool_calls");
  RC_ASSERT(without_ids(folded.tool_calls) ==
            without_ids(calls == nullptr ? json::array() : calls->get_array()));
  RC_ASSERT(folded.text == string_or_empty(message, "content"));
  RC_ASSERT(folded.reasoning == string_or_empty(message, "reasoning"));
  RC_ASSERT(folded.reasoning_content == string_or_empty(message, "reasoning_content"));
}

}  // namespace
}  // namespace tetrad::api
