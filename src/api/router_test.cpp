#include "api/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/api_keys.h"
#include "api/error_response.h"

namespace tetrad::api {
namespace {

using testing::HasSubstr;

RequestHead head(std::string method, std::string target,
                 std::string content_type = "application/json") {
  return {.method = std::move(method),
          .target = std::move(target),
          .authorization = "",
          .content_type = std::move(content_type)};
}

JsonResponse refusal(const RequestHead& request) {
  return std::get<JsonResponse>(route(request));
}

TEST(Router, FindsTheEndpoints) {
  const auto endpoint = [](const char* method, const char* target) {
    return std::get<Destination>(route(head(method, target))).endpoint;
  };
  EXPECT_EQ(endpoint("POST", "/v1/chat/completions"), Endpoint::chat_completions);
  EXPECT_EQ(endpoint("POST", "/v1/completions?api-version=1"), Endpoint::completions);
  EXPECT_EQ(endpoint("GET", "/v1/models"), Endpoint::models);
  EXPECT_EQ(endpoint("HEAD", "/health"), Endpoint::health);
  EXPECT_EQ(endpoint("GET", "/metrics"), Endpoint::metrics);
}

TEST(Router, OnlyProbesComeWithoutAKey) {
  std::vector<std::string_view> open;
  for (const Route& route : all_routes()) {
    if (route.open_to_all) open.push_back(route.path);
  }
  EXPECT_THAT(open, testing::ElementsAre("/health", "/ping", "/ready"));
}

TEST(Router, EveryRouteLeadsToItsEndpoint) {
  for (const Route& one : all_routes()) {
    const bool takes_argument = one.path.back() == '/';
    const std::string target = std::string(one.path) + (takes_argument ? "x" : "") + "?a=b";
    const auto destination = route(head(std::string(one.method), target));
    ASSERT_TRUE(std::holds_alternative<Destination>(destination)) << target;
    EXPECT_EQ(std::get<Destination>(destination).endpoint, one.endpoint) << target;
    EXPECT_EQ(find_route(target), &one);
    EXPECT_EQ(refusal(head("BREW", target)).status, 405) << target;
  }
}

TEST(Router, AnthropicsClientsReadErrorsInTheirForm) {
  EXPECT_THAT(refusal(head("GET", "/v1/messages")).body,
              HasSubstr(R"({"type":"error","error":{"type":"invalid_request_error","message":)"));
  EXPECT_THAT(refusal(head("POST", "/v1/messages/count_tokens", "text/plain")).body,
              HasSubstr(R"({"type":"error")"));
}

TEST(Router, PatternsAreFew) {
  EXPECT_EQ(route_pattern("/v1/completions?x"), "/v1/completions");
  EXPECT_EQ(route_pattern("/v1/models/a/b"), "/v1/models/{id}");
  EXPECT_EQ(route_pattern("/v1/models/"), "none");
  EXPECT_EQ(route_pattern("/etc/passwd"), "none");
}

TEST(Router, ModelNamesMayHoldSlashes) {
  for (const char* target : {"/v1/models/MiniMaxAI/M2", "/v1/models/MiniMaxAI%2FM2?x"}) {
    const auto destination = std::get<Destination>(route(head("GET", target)));
    EXPECT_EQ(destination.endpoint, Endpoint::model);
    EXPECT_EQ(destination.argument, "MiniMaxAI/M2");
  }
  for (const char* target : {"/v1/models/%", "/v1/models/%4", "/v1/models/%zz", "/v1/models/%00",
                             "/v1/models/%ff", "/v1/models/%+5"}) {
    EXPECT_EQ(refusal(head("GET", target)).status, 400) << target;
  }
}

TEST(Router, UnknownPathsLearnWhatThereIs) {
  for (const char* target : {"/", "", "/v1/embeddings", "/v1/models/", "/v1/chat/completions/x",
                             "http://x/health", "*"}) {
    const JsonResponse response = refusal(head("GET", target));
    EXPECT_EQ(response.status, 404) << target;
    EXPECT_THAT(response.body, HasSubstr("POST /v1/chat/completions"));
  }
}

TEST(Router, WrongMethodsLearnTheRightOnes) {
  const JsonResponse response = refusal(head("GET", "/v1/chat/completions"));
  EXPECT_EQ(response.status, 405);
  ASSERT_EQ(response.headers.size(), 1u);
  EXPECT_EQ(response.headers[0].name, "Allow");
  EXPECT_EQ(response.headers[0].value, "POST, OPTIONS");
  EXPECT_EQ(refusal(head("OPTIONS", "/v1/models")).status, 204);
  EXPECT_EQ(refusal(head("DELETE", "/v1/models")).status, 405);
}

TEST(Router, BodiesMustBeDeclaredAsJson) {
  const auto accepted = [](const char* type) {
    return std::holds_alternative<Destination>(route(head("POST", "/v1/completions", type)));
  };
  EXPECT_TRUE(accepted("application/json"));
  EXPECT_TRUE(accepted("Application/JSON ; charset=utf-8"));
  for (const char* type :
       {"", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"}) {
    EXPECT_FALSE(accepted(type)) << type;
    EXPECT_EQ(refusal(head("POST", "/v1/completions", type)).status, 415);
  }
}

TEST(ApiKeys, OnlyTheWholeKeyIsAdmitted) {
  const ApiKeys keys({"first-key", "second"});
  for (const char* good : {"Bearer first-key", "bearer second", "BEARER  second"}) {
    EXPECT_TRUE(keys.admit({.authorization = good})) << good;
  }
  for (const char* bad :
       {"", "Bearer", "Bearer ", "first-key", "Bearer first-ke", "Bearer first-keyy",
        "Bearer first-keyfirst-key", "Basic first-key", "Bearer First-Key", "Bearerfirst-key"}) {
    EXPECT_FALSE(keys.admit({.authorization = bad})) << bad;
  }
  EXPECT_TRUE(ApiKeys({}).admit({}));
  EXPECT_FALSE(ApiKeys({""}).admit({.authorization = "Bearer "}));
  EXPECT_FALSE(ApiKeys({""}).admit({}));
}

TEST(ApiKeys, ComeInEitherHeader) {
  const ApiKeys keys({"first", "second"});
  EXPECT_EQ(keys.find({.api_key = "second"}), 1u);
  EXPECT_EQ(keys.find({.authorization = "Bearer wrong", .api_key = "first"}), 0u);
  EXPECT_EQ(keys.find({.authorization = "Bearer second", .api_key = "first"}), 1u);
  for (const char* bad : {"", "Bearer first", "firs", "first "})
    EXPECT_FALSE(keys.admit({.api_key = bad})) << bad;
}

TEST(ErrorResponse, HasTheOpenAiForm) {
  const JsonResponse response =
      error_response(Error{ErrorCode::invalid_argument, "bad \"stop\"", "stop"});
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.body,
            R"({"error":{"message":"bad \"stop\"","type":"invalid_request_error","param":"stop",)"
            R"("code":null}})");
  EXPECT_TRUE(response.headers.empty());
}

TEST(ErrorResponse, HasTheAnthropicForm) {
  const auto body = [](const Error& error) {
    return error_response(error, ErrorForm::anthropic).body;
  };
  EXPECT_EQ(
      body({ErrorCode::invalid_argument, "bad \"system\"", "system"}),
      R"({"type":"error","error":{"type":"invalid_request_error","message":"bad \"system\""}})");
  EXPECT_THAT(body({ErrorCode::not_found, "m", ""}), HasSubstr(R"("not_found_error")"));
  EXPECT_THAT(body({ErrorCode::resource_exhausted, "m", ""}), HasSubstr(R"("rate_limit_error")"));
  EXPECT_THAT(body({ErrorCode::cancelled, "m", ""}), HasSubstr(R"("overloaded_error")"));
  EXPECT_THAT(body({ErrorCode::internal, "secret", ""}), HasSubstr(R"("api_error")"));
  EXPECT_THAT(body({ErrorCode::internal, "secret", ""}), testing::Not(HasSubstr("secret")));
  EXPECT_THAT(error_response(401, "key", "c", ErrorForm::anthropic).body,
              HasSubstr(R"("authentication_error")"));
  EXPECT_THAT(error_response(413, "large", "c", ErrorForm::anthropic).body,
              HasSubstr(R"("request_too_large")"));
}

TEST(ErrorResponse, FullQueuesAreToBeTriedAgain) {
  const JsonResponse response = error_response(Error{ErrorCode::resource_exhausted, "full", ""});
  EXPECT_EQ(response.status, 429);
  ASSERT_EQ(response.headers.size(), 1u);
  EXPECT_EQ(response.headers[0].name, "Retry-After");
}

TEST(ErrorResponse, InternalTextsStayInside) {
  for (const ErrorCode code : {ErrorCode::internal, ErrorCode::io, ErrorCode::corrupt_data}) {
    const JsonResponse response = error_response(Error{code, "/secret/path at 0x7fff", ""});
    EXPECT_EQ(response.status, 500);
    EXPECT_THAT(response.body, testing::Not(HasSubstr("secret")));
  }
}

}  // namespace
}  // namespace tetrad::api
