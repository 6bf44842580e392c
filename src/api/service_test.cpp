// Who may do what, and that every route answers.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>

#include "api/service_fixture_for_tests.h"

namespace tetrad::api {
namespace {

using testing::HasSubstr;

TEST_F(ServiceTest, EveryRouteNeedsAKeyButTheProbes) {
  ServiceOptions with_keys = options();
  with_keys.api_keys = {"secret-key"};
  restart(with_keys);
  for (const Route& route : all_routes()) {
    const std::string target = std::string(route.path) + (route.path.back() == '/' ? "demo" : "");
    RequestHead request = head(route.method, target);
    const auto refusal = service_->refuse(request);
    if (route.open_to_all) {
      EXPECT_FALSE(refusal) << target;
      continue;
    }
    ASSERT_TRUE(refusal) << target;
    EXPECT_EQ(refusal->status, 401) << target;
    const bool anthropic = route.errors == ErrorForm::anthropic;
    EXPECT_EQ(
        refusal->body.starts_with(R"({"type":"error","error":{"type":"authentication_error")"),
        anthropic)
        << target;
    for (const char* wrong : {"secret", "Bearer secret-key2", ""}) {
      request.authorization = wrong;
      request.api_key = wrong;
      EXPECT_TRUE(service_->refuse(request)) << target;
    }
    request.api_key = "secret-key";
    EXPECT_FALSE(service_->refuse(request)) << target;
    request.api_key = "";
    request.authorization = "Bearer secret-key";
    EXPECT_FALSE(service_->refuse(request)) << target;
  }
  for (const char* unknown : {"/", "/v1/embeddings", "/docs"}) {
    EXPECT_EQ(service_->refuse(head("GET", unknown))->status, 401) << unknown;
  }
}

TEST_F(ServiceTest, WhileDrainingNothingIsGenerated) {
  std::atomic<bool> leaving = false;
  std::atomic<bool> draining = false;
  ServiceOptions may_drain = options();
  may_drain.is_leaving = [&leaving] { return leaving.load(); };
  may_drain.is_draining = [&draining] { return draining.load(); };
  restart(may_drain);
  EXPECT_EQ(send("GET", "/ready")->response().status, 200);
  leaving = true;
  EXPECT_EQ(send("GET", "/ready")->response().status, 503);
  EXPECT_FALSE(service_->refuse(head("POST", "/v1/completions")));
  draining = true;
  for (const Route& route : all_routes()) {
    const std::string target = std::string(route.path) + (route.path.back() == '/' ? "demo" : "");
    const auto refusal = service_->refuse(head(route.method, target));
    EXPECT_EQ(refusal.has_value(), route.generates) << target;
    if (!refusal) continue;
    EXPECT_EQ(refusal->status, 503) << target;
    EXPECT_EQ(header_of(refusal->headers, "Retry-After"), "1") << target;
  }
  const JsonResponse ready = send("GET", "/ready")->response();
  EXPECT_EQ(ready.status, 503);
  EXPECT_EQ(ready.body, R"({"status":"draining"})");
  EXPECT_EQ(header_of(ready.headers, "Retry-After"), "1");
  EXPECT_EQ(send("GET", "/health")->response().status, 200);
}

TEST_F(ServiceTest, StatusRoutes) {
  EXPECT_EQ(send("GET", "/health")->response().body, R"({"status":"ok"})");
  EXPECT_EQ(send("GET", "/ping")->response().body, R"({"status":"ok"})");
  EXPECT_EQ(send("GET", "/ready")->response().body, R"({"status":"ready"})");
  EXPECT_EQ(send("GET", "/health_generate")->response().body, R"({"status":"ok"})");
  EXPECT_EQ(send("GET", "/version")->response().body, R"({"version":"1"})");
  EXPECT_EQ(send("GET", "/load")->response().body, R"({"running":0,"waiting":0})");
  EXPECT_EQ(send("GET", "/v1/models")->body().at("data").at(1).at("id"), "other-name");
  EXPECT_EQ(send("GET", "/v1/models/demo")->body().at("max_model_len"), 512);
  EXPECT_EQ(send("GET", "/v1/models/none")->response().status, 404);
}

/// Keeps the engine's thread, against all rules, until it is told to let go.
class HoldingSink final : public EventSink {
 public:
  void on_event(GenerationEvent) override {
    held_.count_down();
    released_.wait();
  }
  void wait_until_held() { held_.wait(); }
  void release() { released_.count_down(); }

 private:
  std::latch held_{1};
  std::latch released_{1};
};

TEST_F(ServiceTest, AnEngineThatDoesNotAnswerInTimeIsNotHealthy) {
  HealthProbe probe;
  const auto holder = std::make_shared<HoldingSink>();
  ASSERT_TRUE(
      running_->engine().submit({.prompt_ids = {5}, .sampling = {.max_tokens = 1}}, holder));
  holder->wait_until_held();
  auto late = std::make_shared<EventWriter>();
  probe.answer(running_->engine(), bundled_tokenizer(), late, Seconds(0));
  EXPECT_EQ(late->response().status, 503);
  EXPECT_THAT(late->response().body, HasSubstr("has not answered"));
  holder->release();
  auto again = std::make_shared<EventWriter>();
  probe.answer(running_->engine(), bundled_tokenizer(), again, Seconds(60));
  EXPECT_EQ(again->response().status, 200);
}

TEST_F(ServiceTest, ChatGivesAnAnswer) {
  const auto writer =
      post("/v1/chat/completions", fmt::format(R"({{{}, "max_tokens": 4, "temperature": 0,
                                           "request_id": "mine"}})",
                                               kQuestion));
  const json::value body = writer->body();
  EXPECT_EQ(body.at("id"), "chatcmpl-mine");
  EXPECT_EQ(body.at("model"), "demo");
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 4);
  EXPECT_EQ(header_of(writer->headers(), "X-Request-Id"), "mine");
  for (const char* target : {"/v1/messages", "/v1/responses"}) {
    const auto other = post(target, fmt::format(R"({{{}, "input": "a", "max_tokens": 1,
                                                    "max_output_tokens": 1, "request_id": "me"}})",
                                                kQuestion));
    EXPECT_TRUE(other->body().at("id").as_string().ends_with("_me"));
    EXPECT_EQ(header_of(other->headers(), "X-Request-Id"), "me");
  }
}

TEST_F(ServiceTest, AllChatDialectsSayTheSame) {
  const json::value chat =
      post("/v1/chat/completions",
           fmt::format(R"({{{}, "max_tokens": 24, "temperature": 0}})", kQuestion))
          ->body();
  const json::value messages =
      post("/v1/messages", fmt::format(R"({{{}, "max_tokens": 24, "temperature": 0,
                                           "thinking": {{"type": "adaptive"}}}})",
                                       kQuestion))
          ->body();
  const json::value responses =
      post("/v1/responses", R"({"input": "Hello", "max_output_tokens": 24, "temperature": 0})")
          ->body();
  const json::value& message = chat.at("choices").at(0).at("message");
  std::string reasoning;
  std::string content;
  for (const json::value& block : messages.at("content").as_array()) {
    if (block.at("type") == "thinking") reasoning += block.at("thinking").as_string();
    if (block.at("type") == "text") content += block.at("text").as_string();
  }
  const auto text = [](const json::value& value) {
    return value.is_null() ? std::string() : std::string(value.as_string());
  };
  EXPECT_EQ(reasoning, text(message.at("reasoning")));
  EXPECT_EQ(content, text(message.at("content")));
  EXPECT_FALSE((reasoning + content).empty());
  std::string output;
  for (const json::value& item : responses.at("output").as_array())
    output += item.at("content").at(0).at("text").as_string();
  EXPECT_EQ(output, reasoning + content);
  EXPECT_EQ(messages.at("stop_reason"), "max_tokens");
  EXPECT_EQ(responses.at("status"), "incomplete");
  const int64_t num_prompt_tokens = chat.at("usage").at("prompt_tokens").as_int64();
  EXPECT_EQ(responses.at("usage").at("input_tokens"), num_prompt_tokens);
  const json::value& usage = messages.at("usage");
  EXPECT_EQ(usage.at("input_tokens").as_int64() + usage.at("cache_read_input_tokens").as_int64(),
            num_prompt_tokens);
  const json::value count =
      post("/v1/messages/count_tokens", fmt::format("{{{}}}", kQuestion))->body();
  EXPECT_EQ(count.at("input_tokens"), num_prompt_tokens);
}

TEST_F(ServiceTest, StreamsOfAllDialectsEnd) {
  const auto last = [this](std::string_view target, std::string_view prompt) {
    const auto writer =
        post(target, fmt::format(R"({{{}, "stream": true, "temperature": 0}})", prompt));
    const auto events = writer->events();
    return events.empty() ? writer->response().body
                          : events.back().name + "|" + to_json_text(events.back().data);
  };
  const std::string chat = fmt::format("{}, \"max_tokens\": 3", kQuestion);
  EXPECT_EQ(last("/v1/chat/completions", chat), R"(|"[DONE]")");
  EXPECT_EQ(last("/v1/completions", R"("prompt": "Once", "max_tokens": 3)"), R"(|"[DONE]")");
  EXPECT_EQ(last("/v1/messages", chat), R"(message_stop|{"type":"message_stop"})");
  EXPECT_THAT(last("/v1/responses", R"("input": "Hello", "max_output_tokens": 3)"),
              HasSubstr("response.incomplete|"));
}

TEST_F(ServiceTest, ErrorsHaveTheFormOfTheirRoute) {
  for (const char* target : {"/v1/messages", "/v1/messages/count_tokens"}) {
    const JsonResponse unknown =
        post(target, R"({"model": "gpt", "max_tokens": 1, "messages": [{"role": "user",
                         "content": "a"}]})")
            ->response();
    EXPECT_EQ(unknown.status, 404);
    EXPECT_THAT(unknown.body, HasSubstr(R"({"type":"error","error":{"type":"not_found_error")"));
    EXPECT_EQ(post(target, "{")->response().status, 400);
  }
  EXPECT_THAT(post("/v1/responses", R"({"input": "a", "model": "gpt"})")->response().body,
              HasSubstr(R"("code":"model_not_found")"));
}

TEST_F(ServiceTest, MessagesTakeWhatTheContextHasLeft) {
  const json::value body = post("/v1/messages", fmt::format(R"({{{}, "max_tokens": 32000,
                                 "stop_sequences": ["e"]}})",
                                                            kQuestion))
                               ->body();
  EXPECT_EQ(body.at("type"), "message") << to_json_text(body);
}

}  // namespace
}  // namespace tetrad::api
