#include "bench/load_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "bench/agent_workload.h"
#include "bench/fake_client_for_tests.h"
#include "bench/prompt_workload.h"

namespace tetrad::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr double kTiny = 1e-9;

std::unique_ptr<Workload> prompts(int64_t output_len = 8) {
  auto workload =
      make_prompt_workload({.model = "m"}, {.input_len = 3, .output_len = output_len}, {});
  EXPECT_TRUE(workload);
  return std::move(*workload);
}

std::unique_ptr<Workload> agents(int64_t num_turns) {
  auto workload = make_agent_workload({.model = "m"}, {.num_turns = num_turns, .prefix_len = 5});
  EXPECT_TRUE(workload);
  return std::move(*workload);
}

RunResult run(FakeClient& client, const Workload& workload, const LoadOptions& options) {
  LoadRun load(client, client, workload, options, [](const Progress&) { return true; });
  return load.run();
}

RunResult run_one(const FakeResponse& response) {
  FakeClient client([&](const auto&) { return response; });
  return run(client, *prompts(), {.num_sessions = 1});
}

TEST(LoadRun, MeasuresOneRequest) {
  const RunResult result = run_one(streamed_answer(0.5, 0.25, 5));
  ASSERT_THAT(result.records, SizeIs(1));
  const RequestRecord& record = result.records.front();
  EXPECT_EQ(record.outcome, Outcome::completed) << record.error;
  EXPECT_NEAR(record.ttft->count(), 0.5, kTiny);
  EXPECT_NEAR(record.e2el.count(), 1.5, kTiny);
  EXPECT_NEAR(record.tpot()->count(), 0.25, kTiny);
  ASSERT_THAT(record.itls, SizeIs(4));
  for (const Seconds gap : record.itls)
    EXPECT_NEAR(gap.count(), 0.25, kTiny);
  EXPECT_EQ(record.usage.prompt_tokens, 10);
  EXPECT_EQ(record.usage.completion_tokens, 5);
  EXPECT_NEAR(result.duration.count(), 1.5, kTiny);
}

TEST(LoadRun, TimePerTokenCountsTokensAndNotEvents) {
  FakeResponse response;  // three tokens in two events
  response.pieces = {{1.0, text_chunk("a")},
                     {2.0, text_chunk("bc")},
                     {2.0, finish_chunk()},
                     {2.5, usage_chunk(10, 3)},
                     {3.0, sse("[DONE]")}};
  const RunResult result = run_one(response);
  EXPECT_NEAR(result.records.at(0).tpot()->count(), 0.5, kTiny);
  EXPECT_NEAR(result.records.at(0).e2el.count(), 2.0, kTiny);
}

TEST(LoadRun, AnAnswerOfOneTokenHasNoTimePerToken) {
  const RunResult result = run_one(streamed_answer(0.5, 0.25, 1));
  EXPECT_EQ(result.records.at(0).outcome, Outcome::completed);
  EXPECT_FALSE(result.records.at(0).tpot());
  EXPECT_THAT(result.records.at(0).itls, IsEmpty());
}

TEST(LoadRun, AnAnswerWithoutTextTakesItsEndAsFirstToken) {
  FakeResponse response;
  response.pieces = {{0.5, finish_chunk()}, {0.5, usage_chunk(10, 1)}, {0.5, sse("[DONE]")}};
  const RunResult result = run_one(response);
  EXPECT_EQ(result.records.at(0).outcome, Outcome::completed);
  EXPECT_NEAR(result.records.at(0).ttft->count(), 0.5, kTiny);
}

TEST(LoadRun, SaysWhatIsWrongWithAnAnswer) {
  const std::string text = text_chunk("x");
  const std::string rest = finish_chunk() + usage_chunk(1, 1) + sse("[DONE]");
  const std::pair<FakeResponse, const char*> cases[] = {
      {{.status = 503,
        .content_type = "application/json",
        .pieces = {{0, R"({"error":{"message":"over)"}, {0, R"(loaded"}})"}}},
       "HTTP 503: overloaded"},
      {{.status = 422, .pieces = {{0, R"({"detail":"no such field"})"}}},
       "HTTP 422: no such field"},
      {{.status = 502, .pieces = {{0, "<html>Bad Gateway"}}}, "HTTP 502: <html>Bad Gateway"},
      {{.content_type = "application/json", .pieces = {{0, "{}"}}},
       "\"application/json\", not a stream"},
      {{.pieces = {{0, sse("{oops")}}}, "not valid JSON"},
      {{.pieces = {{0, sse("[]")}}}, "no JSON object"},
      {{.pieces = {{0, sse("{}")}}}, "no \"choices\""},
      {{.pieces = {{0, text}, {0, sse(R"({"error":{"message":"engine died"}})")}}},
       "reports: engine died"},
      {{.pieces = {{0, text}}}, "without [DONE]"},
      {{.pieces = {{0, text + finish_chunk() + sse("[DONE]")}}}, "no \"usage\""},
      {{.pieces = {{0, usage_chunk(1, 0) + sse("[DONE]")}}}, "no answer in it"},
      {{.pieces = {{0, text + rest + text}}}, "follows [DONE]"},
      {{.pieces = {{0, text}}, .end = fail(ErrorCode::io, "broke off")}, "broke off"},
      {{.pieces = {{0, sse(R"({"choices":[],"usage":{"prompt_tokens":"many"}})")}}},
       "\"usage\" without"},
  };
  for (const auto& [response, message] : cases) {
    const RunResult result = run_one(response);
    ASSERT_THAT(result.records, SizeIs(1)) << message;
    EXPECT_EQ(result.records.front().outcome, Outcome::failed) << message;
    EXPECT_THAT(result.records.front().error, HasSubstr(message));
  }
}

TEST(LoadRun, AClosedLoopKeepsItsConcurrency) {
  FakeClient client([](const auto&) { return streamed_answer(1, 0, 1); });
  const RunResult result = run(client, *prompts(), {.max_concurrency = 2, .num_sessions = 6});
  EXPECT_THAT(result.records, SizeIs(6));
  EXPECT_EQ(result.peak_concurrency, 2);
  EXPECT_NEAR(result.duration.count(), 3, kTiny);
}

TEST(LoadRun, WithoutALimitAllBeginAtOnce) {
  FakeClient client([](const auto&) { return streamed_answer(1, 0, 1); });
  const RunResult result = run(client, *prompts(), {.num_sessions = 50});
  EXPECT_EQ(result.peak_concurrency, 50);
  EXPECT_NEAR(result.duration.count(), 1, kTiny);
}

std::vector<double> gaps(const std::vector<double>& times) {
  std::vector<double> result(times.size());
  std::adjacent_difference(times.begin(), times.end(), result.begin());
  result.erase(result.begin());
  return result;
}

TEST(LoadRun, PoissonArrivalsDoNotWaitForTheServer) {
  const LoadOptions options{.request_rate = 10, .num_sessions = 4000, .seed = 7};
  FakeClient fast([](const auto&) { return streamed_answer(0.001, 0, 1); });
  FakeClient slow([](const auto&) { return streamed_answer(100, 0, 1); });
  run(fast, *prompts(), options);
  run(slow, *prompts(), options);
  EXPECT_EQ(fast.request_times, slow.request_times);
  // An exponential distribution has its mean as standard deviation.
  const std::vector<double> times = gaps(fast.request_times);
  const double mean = std::accumulate(times.begin(), times.end(), 0.0) / 3999;
  double variance = 0;
  for (const double time : times)
    variance += (time - mean) * (time - mean) / 3999;
  EXPECT_NEAR(mean, 0.1, 0.005);
  EXPECT_NEAR(std::sqrt(variance), 0.1, 0.01);
}

TEST(LoadRun, ArrivalsBeyondTheConcurrencyWait) {
  FakeClient client([](const auto&) { return streamed_answer(1, 0, 1); });
  const RunResult result =
      run(client, *prompts(), {.request_rate = 1000, .max_concurrency = 3, .num_sessions = 9});
  EXPECT_EQ(result.peak_concurrency, 3);
  EXPECT_THAT(result.records, SizeIs(9));
  EXPECT_NEAR(result.duration.count(), 3, 0.1);
}

TEST(LoadRun, NothingBeginsAfterTheDuration) {
  FakeClient client([](const auto&) { return streamed_answer(0.4, 0, 1); });
  const RunResult result = run(client, *prompts(), {.max_concurrency = 1, .duration = Seconds(1)});
  EXPECT_THAT(result.records, SizeIs(3));  // begun at 0, 0.4 and 0.8
  EXPECT_NEAR(result.duration.count(), 1.2, kTiny);
  FakeClient open([](const auto&) { return streamed_answer(0.4, 0, 1); });
  run(open, *prompts(), {.request_rate = 100, .duration = Seconds(1)});
  EXPECT_LT(open.request_times.back(), 1001);
  EXPECT_GT(open.request_times.back(), 1000.8);
}

TEST(LoadRun, NoArrivalIsWaitedForBeyondTheDuration) {
  FakeClient client([](const auto&) { return streamed_answer(0.4, 0, 1); });
  run(client, *prompts(), {.request_rate = 1e-6, .duration = Seconds(1)});
  EXPECT_THAT(client.requests, SizeIs(1));
  EXPECT_NEAR(client.now().count(), 1001, kTiny);
}

TEST(LoadRun, TheDurationAlsoEndsConversations) {
  FakeClient client([](const auto&) { return streamed_answer(0.4, 0, 1); });
  const RunResult result = run(client, *agents(10), {.num_sessions = 1, .duration = Seconds(1)});
  EXPECT_THAT(result.records, SizeIs(3));
  EXPECT_EQ(result.num_skipped_turns, 0);
}

TEST(LoadRun, AFailureIsPausedAfterAndEndsItsSession) {
  FakeClient client(
      [](const auto&) { return FakeResponse{.end = fail(ErrorCode::io, "refused")}; });
  const RunResult result = run(client, *agents(10), {.max_concurrency = 1, .duration = Seconds(1)});
  EXPECT_THAT(result.records, SizeIs(testing::Le(11U)));
  EXPECT_THAT(result.records, SizeIs(testing::Ge(9U)));
  EXPECT_EQ(result.num_skipped_turns, 9 * static_cast<int64_t>(result.records.size()));
}

TEST(LoadRun, DisconnectsAreNoFailures) {
  FakeClient client([](const auto&) { return streamed_answer(0.2, 0.2, 8); });
  const RunResult result =
      run(client, *prompts(8), {.num_sessions = 200, .disconnect_fraction = 1});
  ASSERT_THAT(result.records, SizeIs(200));
  std::set<int64_t> moments;
  for (const RequestRecord& record : result.records) {
    EXPECT_EQ(record.outcome, Outcome::disconnected) << record.error;
    moments.insert(record.ttft ? static_cast<int64_t>(record.itls.size()) + 1 : 0);
  }
  EXPECT_THAT(client.cancelled, SizeIs(200));
  EXPECT_THAT(moments, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(LoadRun, DisconnectsTheShareThatWasAskedFor) {
  FakeClient client([](const auto&) { return streamed_answer(0.2, 0.2, 8); });
  const RunResult result =
      run(client, *prompts(8), {.num_sessions = 1000, .disconnect_fraction = 0.25});
  EXPECT_NEAR(static_cast<double>(client.cancelled.size()), 250, 45);
  for (const RequestRecord& record : result.records)
    EXPECT_NE(record.outcome, Outcome::failed) << record.error;
}

TEST(LoadRun, AnErrorIsOneAlsoWhereADisconnectWasPlanned) {
  FakeClient client([](const auto&) {
    return FakeResponse{.status = 500, .pieces = {{0, R"({"message":"broken"})"}}};
  });
  const RunResult result = run(client, *prompts(8), {.num_sessions = 20, .disconnect_fraction = 1});
  for (const RequestRecord& record : result.records)
    EXPECT_EQ(record.error, "HTTP 500: broken");
}

TEST(LoadRun, AnInterruptionKeepsWhatWasMeasured) {
  FakeClient client([](const auto&) { return streamed_answer(1, 0, 1); });
  const auto workload = prompts();
  LoadRun load(client, client, *workload, {.max_concurrency = 4, .num_sessions = 100},
               [](const Progress& progress) { return progress.completed < 8; });
  const RunResult result = load.run();
  EXPECT_TRUE(result.was_interrupted);
  EXPECT_THAT(result.records, SizeIs(8));
  EXPECT_EQ(result.num_unfinished, 4);
}

TEST(LoadRun, ReportsItsProgress) {
  FakeClient client([](const auto&) { return streamed_answer(1, 1, 2); });
  const auto workload = prompts();
  std::vector<Progress> seen;
  LoadRun load(client, client, *workload, {.max_concurrency = 3, .num_sessions = 3},
               [&](const Progress& progress) {
                 seen.push_back(progress);
                 return true;
               });
  load.run();
  ASSERT_THAT(seen, SizeIs(testing::Ge(18U)));
  EXPECT_EQ(seen[4].running, 3);
  EXPECT_EQ(seen[4].output_events, 0);
  EXPECT_EQ(seen[14].output_events, 3);
  EXPECT_NEAR(seen[14].elapsed.count(), 1.5, kTiny);
}

/// An answer as tetrad and vLLM stream it: thinking, then text.
FakeResponse chat_answer(int number) {
  FakeResponse response;
  const auto delta = [&](const std::string& fields) {
    response.pieces.emplace_back(
        0.1, sse(R"({"choices":[{"index":0,"delta":{)" + fields + R"(},"finish_reason":null}]})"));
  };
  delta(R"("role":"assistant","content":"")");
  delta(R"("reasoning":"think )" + std::to_string(number) + R"(","reasoning_content":"think )" +
        std::to_string(number) + R"(")");
  delta(R"("reasoning":" more","reasoning_content":" more")");
  delta(R"("content":"say )" + std::to_string(number) + R"(")");
  response.pieces.emplace_back(0.1, finish_chunk() + usage_chunk(10, 4) + sse("[DONE]"));
  return response;
}

std::string text_of(const json::value& value) {
  return std::string(value.as_string());
}

json::array messages_of(const http::ClientRequest& request) {
  return parse_json(request.body)->at("messages").as_array();
}

TEST(AgentLoad, AnswersGoBackAsTheyCame) {
  int number = 0;
  FakeClient client([&](const auto&) { return chat_answer(number++); });
  const RunResult result = run(client, *agents(7), {.num_sessions = 1});
  ASSERT_THAT(result.records, SizeIs(7));
  for (const RequestRecord& record : result.records)
    EXPECT_EQ(record.outcome, Outcome::completed) << record.error;

  const json::array first = messages_of(client.requests[0]);
  ASSERT_THAT(first, SizeIs(2));
  EXPECT_EQ(first[0].at("role"), "system");
  EXPECT_EQ(first[1].at("role"), "user");
  for (size_t turn = 1; turn < 7; ++turn) {
    const json::array before = messages_of(client.requests[turn - 1]);
    const json::array now = messages_of(client.requests[turn]);
    ASSERT_THAT(now, SizeIs(before.size() + 2)) << turn;
    EXPECT_EQ(json::array(now.begin(), now.begin() + before.size()), before) << turn;
    const json::object& answer = now[before.size()].as_object();
    EXPECT_EQ(answer.at("role"), "assistant");
    EXPECT_EQ(text_of(answer.at("content")), fmt::format("say {}", turn - 1));
    EXPECT_EQ(text_of(answer.at("reasoning")), fmt::format("think {} more", turn - 1));
    EXPECT_EQ(answer.at("reasoning_content"), answer.at("reasoning"));
    const json::object& news = now.back().as_object();
    if (turn == 5) {
      EXPECT_EQ(news.at("role"), "user");
      EXPECT_FALSE(answer.contains("tool_calls"));
    } else {
      EXPECT_EQ(news.at("role"), "tool");
      const std::string id = fmt::format("call_0_{}", turn);
      EXPECT_EQ(text_of(news.at("tool_call_id")), id);
      EXPECT_EQ(text_of(answer.at("tool_calls").at(0).at("id")), id);
    }
  }
}

FakeResponse calling_answer(const std::string& arguments_tail) {
  FakeResponse response;
  const auto call = [&](const std::string& fields) {
    response.pieces.emplace_back(
        0.1,
        sse(R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,)" + fields + "}]}}]}"));
  };
  call(R"("id":"abc","type":"function","function":{"name":"search","arguments":"{\"a\":"})");
  call(R"("function":{"arguments":")" + arguments_tail + R"("})");
  response.pieces.emplace_back(0.1, finish_chunk() + usage_chunk(10, 4) + sse("[DONE]"));
  return response;
}

TEST(AgentLoad, CallsOfTheModelAreAnsweredUnderTheirIds) {
  FakeClient client([](const auto&) { return calling_answer("1}"); });
  run(client, *agents(2), {.num_sessions = 1});
  ASSERT_THAT(client.requests, SizeIs(2));
  const json::array messages = messages_of(client.requests[1]);
  ASSERT_THAT(messages, SizeIs(4));
  const json::value& calls = messages[2].at("tool_calls");
  ASSERT_THAT(calls.as_array(), SizeIs(1));
  EXPECT_EQ(calls.at(0).at("function").at("name"), "search");
  EXPECT_EQ(calls.at(0).at("function").at("arguments"), R"({"a":1})");
  EXPECT_EQ(messages[3].at("tool_call_id"), "abc");
}

TEST(AgentLoad, ACallThatWasCutOffIsReplaced) {
  FakeClient client([](const auto&) { return calling_answer("1"); });
  run(client, *agents(2), {.num_sessions = 1});
  const json::array messages = messages_of(client.requests.at(1));
  ASSERT_THAT(messages, SizeIs(4));
  EXPECT_EQ(messages[3].at("tool_call_id"), "call_0_1");
}

}  // namespace
}  // namespace tetrad::bench
