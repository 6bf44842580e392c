#include "api/metered_handler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "api/router.h"

namespace tetrad::api {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Refuses what the router refuses and keeps the writers of the rest.
class HoldingHandler final : public RequestHandler {
 public:
  std::vector<std::shared_ptr<ResponseWriter>> writers;

  std::optional<JsonResponse> refuse(const RequestHead& head) const override {
    auto destination = route(head);
    if (auto* refusal = std::get_if<JsonResponse>(&destination)) return std::move(*refusal);
    return std::nullopt;
  }
  void handle(HttpRequest /*request*/, std::shared_ptr<ResponseWriter> writer) override {
    writers.push_back(std::move(writer));
  }
};

class CallWriter final : public ResponseWriter {
 public:
  std::string calls;

  void send(JsonResponse response) override {
    calls += "send " + std::to_string(response.status) + ";";
  }
  void start_events(std::vector<Header> /*headers*/) override { calls += "start;"; }
  void send_event(std::string_view data, std::string_view name) override {
    calls += std::string(name) + std::string(data) + ";";
  }
  void finish_events() override { calls += "finish;"; }
  void on_disconnect(std::function<void()> callback) override { callback(); }
};

class MeteredHandlerTest : public testing::Test {
 protected:
  static RequestHead head(std::string method, std::string target) {
    return {.method = std::move(method),
            .target = std::move(target),
            .authorization = "",
            .content_type = "application/json"};
  }
  std::shared_ptr<CallWriter> request(std::string method, std::string target) {
    auto writer = std::make_shared<CallWriter>();
    metered_.handle({.head = head(std::move(method), std::move(target)), .body = ""}, writer);
    return writer;
  }
  std::string text() const { return registry_.text(); }
  static std::string sample(const std::string& handler, const std::string& method,
                            const std::string& status, int value) {
    return "http_requests_total{handler=\"" + handler + "\",method=\"" + method + "\",status=\"" +
           status + "\"} " + std::to_string(value) + "\n";
  }

  metrics::Registry registry_;
  HoldingHandler holding_;
  MeteredHandler metered_{holding_, registry_};
};

TEST_F(MeteredHandlerTest, CountsAResponseAsItIsSent) {
  const auto writer = request("POST", "/v1/completions?x=1");
  EXPECT_EQ(text(), "");
  holding_.writers[0]->send({.status = 429});
  EXPECT_EQ(writer->calls, "send 429;");
  EXPECT_THAT(text(), HasSubstr(sample("/v1/completions", "POST", "4xx", 1)));
  EXPECT_THAT(text(), HasSubstr("http_request_duration_seconds_count{handler=\"/v1/completions\","
                                "method=\"POST\"} 1\n"));
  holding_.writers.clear();  // which is not another request
  EXPECT_THAT(text(), HasSubstr(sample("/v1/completions", "POST", "4xx", 1)));
}

TEST_F(MeteredHandlerTest, CountsAStreamAtItsEnd) {
  const auto writer = request("POST", "/v1/chat/completions");
  ResponseWriter& metered = *holding_.writers[0];
  bool called = false;
  metered.on_disconnect([&called] { called = true; });
  EXPECT_TRUE(called);
  metered.start_events({});
  metered.send_event("one");
  metered.send_event("two", "named ");
  EXPECT_EQ(text(), "");
  metered.finish_events();
  EXPECT_EQ(writer->calls, "start;one;named two;finish;");
  EXPECT_THAT(text(), HasSubstr(sample("/v1/chat/completions", "POST", "2xx", 1)));
}

TEST_F(MeteredHandlerTest, CountsWhatIsDropped) {
  request("POST", "/v1/completions");
  holding_.writers.clear();
  EXPECT_THAT(text(), HasSubstr(sample("/v1/completions", "POST", "5xx", 1)));
}

TEST_F(MeteredHandlerTest, CountsRefusals) {
  EXPECT_TRUE(metered_.refuse(head("GET", "/v1/completions")));
  EXPECT_FALSE(metered_.refuse(head("POST", "/v1/completions")));
  EXPECT_THAT(text(), HasSubstr(sample("/v1/completions", "GET", "4xx", 1)));
  EXPECT_THAT(text(), Not(HasSubstr("POST")));
}

TEST_F(MeteredHandlerTest, ClientsCannotInventLabels) {
  for (const char* target : {"/a", "/b\"}", "/v1/embeddings"})
    metered_.refuse(head("GET", target));
  for (const char* method : {"BREW", "GETGET", ""})
    metered_.refuse(head(method, "/v1/models/x"));
  EXPECT_THAT(text(), HasSubstr(sample("none", "GET", "4xx", 3)));
  EXPECT_THAT(text(), HasSubstr(sample("/v1/models/{id}", "other", "4xx", 3)));
  const std::string all = text();
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 2 + 2 + 2 * 6 + 2);
}

TEST_F(MeteredHandlerTest, CountsTokenizing) {
  request("POST", "/tokenize");
  holding_.writers[0]->send({.status = 200});
  EXPECT_THAT(text(), HasSubstr(sample("/tokenize", "POST", "2xx", 1)));
}

TEST_F(MeteredHandlerTest, LeavesOutProbesAndScrapes) {
  for (const char* target :
       {"/health", "/ping", "/ready", "/health_generate", "/metrics", "/load", "/version"}) {
    request("GET", target);
    metered_.refuse(head("PUT", target));
  }
  for (const auto& writer : holding_.writers)
    writer->send({});
  EXPECT_EQ(text(), "");
}

}  // namespace
}  // namespace tetrad::api
