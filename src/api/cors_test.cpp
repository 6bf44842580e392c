#include "api/cors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tetrad::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Cors cors_of(CorsOptions options) {
  const auto cors = Cors::from(std::move(options));
  EXPECT_TRUE(cors) << cors.error().message;
  return cors.value_or(Cors());
}

RequestHead from_page(std::string origin) {
  return {.method = "POST", .origin = std::move(origin)};
}

RequestHead preflight_from(std::string origin) {
  return {.method = "OPTIONS",
          .origin = std::move(origin),
          .requested_method = "POST",
          .requested_headers = "authorization, content-type"};
}

std::string value_of(const std::vector<Header>& headers, std::string_view name) {
  for (const Header& header : headers) {
    if (header.name == name) return header.value;
  }
  return "";
}

constexpr const char* kOriginHeader = "Access-Control-Allow-Origin";
constexpr const char* kHome = "https://chat.example";

TEST(Cors, IsClosedUnlessOpened) {
  const Cors closed;
  EXPECT_TRUE(closed.headers(from_page(kHome)).empty());
  EXPECT_FALSE(closed.preflight(preflight_from(kHome)));
}

TEST(Cors, OpensForTheOriginsNamedAlone) {
  const Cors cors = cors_of({.origins = {kHome, "http://localhost:3000"}});
  for (const char* origin : {kHome, "http://localhost:3000"}) {
    const auto headers = cors.headers(from_page(origin));
    EXPECT_EQ(value_of(headers, kOriginHeader), origin);
    EXPECT_EQ(value_of(headers, "Vary"), "Origin");
    EXPECT_EQ(value_of(headers, "Access-Control-Allow-Credentials"), "");
  }
  for (const char* origin :
       {"https://chat.example.evil", "https://chat.exampl", "http://chat.example", "null", ""}) {
    const auto headers = cors.headers(from_page(origin));
    EXPECT_EQ(value_of(headers, kOriginHeader), "") << origin;
    EXPECT_EQ(value_of(headers, "Vary"), "Origin") << origin;
    EXPECT_FALSE(cors.preflight(preflight_from(origin))) << origin;
  }
}

TEST(Cors, AnswersPreflights) {
  const Cors cors = cors_of({.origins = {kHome}});
  const auto answer = cors.preflight(preflight_from(kHome));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 204);
  EXPECT_THAT(value_of(answer->headers, "Access-Control-Allow-Methods"), HasSubstr("POST"));
  // '*' would not cover Authorization.
  EXPECT_EQ(value_of(answer->headers, "Access-Control-Allow-Headers"),
            "authorization, content-type");
  RequestHead plain = preflight_from(kHome);
  plain.requested_method = "";
  EXPECT_FALSE(cors.preflight(plain));  // an OPTIONS that asks what there is
  EXPECT_FALSE(cors.preflight(from_page(kHome)));
}

TEST(Cors, SaysWhichMethodsAndHeadersAreAllowed) {
  const Cors cors = cors_of({.origins = {kHome},
                             .methods = {"GET", "POST"},
                             .headers = {"Authorization"},
                             .allow_credentials = true});
  const auto answer = cors.preflight(preflight_from(kHome));
  ASSERT_TRUE(answer);
  EXPECT_EQ(value_of(answer->headers, "Access-Control-Allow-Methods"), "GET, POST");
  EXPECT_EQ(value_of(answer->headers, "Access-Control-Allow-Headers"), "Authorization");
  EXPECT_EQ(value_of(cors.headers(preflight_from(kHome)), "Access-Control-Allow-Credentials"),
            "true");
}

TEST(Cors, AnyOriginGetsAStarThatMayBeStored) {
  const Cors cors = cors_of({.origins = {"*"}});
  const auto headers = cors.headers(from_page("https://any.example"));
  EXPECT_EQ(value_of(headers, kOriginHeader), "*");
  EXPECT_EQ(value_of(headers, "Vary"), "");
}

TEST(Cors, RefusesWhatWouldOpenTooMuchOrNothing) {
  EXPECT_THAT(Cors::from({.origins = {"*"}, .allow_credentials = true}).error().param,
              "--allow-credentials");
  for (const char* origin : {"chat.example", "https://chat.example/", "://x", "https://", "null"}) {
    const auto cors = Cors::from({.origins = {origin}});
    ASSERT_FALSE(cors) << origin;
    EXPECT_EQ(cors.error().param, "--allowed-origins");
    EXPECT_THAT(cors.error().message, HasSubstr(origin));
  }
}

TEST(Cors, ReadsListsInJsonAndWithCommas) {
  EXPECT_THAT(*parse_cors_list("--f", R"( ["https://a", "https://b"])"),
              ElementsAre("https://a", "https://b"));
  EXPECT_THAT(*parse_cors_list("--f", "https://a, https://b"),
              ElementsAre("https://a", "https://b"));
  EXPECT_THAT(*parse_cors_list("--f", "[]"), ElementsAre());
  EXPECT_THAT(*parse_cors_list("--f", "*"), ElementsAre("*"));
  for (const char* text : {R"(["a", 1])", R"(["a")", "a,,b", "a\r\nX-Evil: 1", R"(["a b"])"}) {
    const auto list = parse_cors_list("--f", text);
    ASSERT_FALSE(list) << text;
    EXPECT_THAT(list.error().message, HasSubstr("--f")) << text;
  }
}

}  // namespace
}  // namespace tetrad::api
