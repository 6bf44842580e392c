#include "api/completion_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/request_bodies_for_tests.h"

namespace tetrad::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(CompletionRequest, PromptIsATextOrIds) {
  using Ids = std::vector<TokenId>;
  const auto prompts = [](std::string_view json) {
    return parse_completion_request(fmt::format(R"({{"prompt": {}}})", json))->prompts;
  };
  using Prompt = CompletionRequest::Prompt;
  EXPECT_THAT(prompts(R"("Once")"), ElementsAre(Prompt("Once")));
  EXPECT_THAT(prompts(R"(["Once"])"), ElementsAre(Prompt("Once")));
  EXPECT_THAT(prompts("[3, 4]"), ElementsAre(Prompt(Ids{3, 4})));
  EXPECT_THAT(prompts("[[3, 4]]"), ElementsAre(Prompt(Ids{3, 4})));
  EXPECT_THAT(prompts(R"(["a", "b", [5]])"), ElementsAre(Prompt("a"), Prompt("b"), Prompt(Ids{5})));
}

TEST(CompletionRequest, NamesABadPrompt) {
  for (const char* json :
       {R"("")", "[]", "[[]]", R"(["a", ""])", R"(["a", 1])", "[[1], []]", "5", "{}", "null",
        "[-1]", "[1.5]", R"([1, "a"])", "[true]", R"([{"a": 1}])", "[[1], [[2]]]"}) {
    const auto request = parse_completion_request(fmt::format(R"({{"prompt": {}}})", json));
    ASSERT_FALSE(request) << json;
    EXPECT_EQ(request.error().param, "prompt") << json;
  }
  EXPECT_EQ(parse_completion_request("{}").error().param, "prompt");
}

TEST(CompletionRequest, PromptsAreLimitedWithTheirAnswers) {
  const auto parse = [](int count, int n) {
    return parse_completion_request(
        fmt::format(R"({{"prompt": [{}], "n": {}}})", many(count, R"("p{}")"), n));
  };
  EXPECT_TRUE(parse(128, 2));
  EXPECT_TRUE(parse(16, 16));
  EXPECT_EQ(parse(129, 1).error().param, "prompt");
  EXPECT_EQ(parse(17, 16).error().param, "prompt");
}

TEST(CompletionRequest, WhatIsNotImplementedIsNamed) {
  for (const BadField& bad :
       {BadField{R"("suffix": "x")", "suffix"}, BadField{R"("best_of": 2)", "best_of"},
        BadField{R"("prompt_embeds": "x")", "prompt_embeds"}}) {
    const auto request = parse_completion_request(completion_body(bad.field));
    ASSERT_FALSE(request) << bad.field;
    EXPECT_EQ(request.error().param, bad.param);
    EXPECT_EQ(request.error().code, ErrorCode::unsupported);
  }
  EXPECT_TRUE(parse_completion_request(completion_body(R"("echo": false, "suffix": null)")));
}

TEST(CompletionRequest, LogprobsAreANumber) {
  EXPECT_EQ(parse_completion_request(completion_body(R"("logprobs": 0)"))->common.sampling.logprobs,
            0);
  for (const char* field : {R"("logprobs": true)", R"("logprobs": 21)", R"("logprobs": -1)"}) {
    const auto request = parse_completion_request(completion_body(field));
    ASSERT_FALSE(request) << field;
    EXPECT_EQ(request.error().param, "logprobs");
  }
}

TEST(CompletionRequest, NoTokensNeedAnEcho) {
  const auto echo = parse_completion_request(completion_body(R"("echo": true, "max_tokens": 0)"));
  ASSERT_TRUE(echo) << echo.error().message;
  EXPECT_TRUE(echo->echo);
  EXPECT_TRUE(echo->only_echo);
  EXPECT_EQ(echo->common.sampling.max_tokens, 1);
  const auto both = parse_completion_request(completion_body(R"("echo": true, "max_tokens": 1)"));
  EXPECT_TRUE(both->echo);
  EXPECT_FALSE(both->only_echo);
  const auto none = parse_completion_request(completion_body(R"("max_tokens": 0)"));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().param, "max_tokens");
  EXPECT_THAT(none.error().message, HasSubstr("echo"));
  EXPECT_EQ(parse_completion_request(completion_body(R"("echo": 1)")).error().param, "echo");
}

}  // namespace
}  // namespace tetrad::api
