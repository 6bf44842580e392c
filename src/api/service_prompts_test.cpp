// Prompts on their way through the service: cut, continued, several, as tokens.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/service_fixture_for_tests.h"

namespace tetrad::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

TEST_F(ServiceTest, TooLongPromptsNameTheirField) {
  std::string words;
  for (int i = 0; i < 600; ++i)
    words += "word ";
  EXPECT_EQ(post("/v1/responses", fmt::format(R"({{"input": "{}"}})", words))
                ->body()
                .at("error")
                .at("param"),
            "input");
  EXPECT_THAT(post("/v1/messages", fmt::format(R"({{"max_tokens": 1, "messages": [{{"role": "user",
                                                   "content": "{}"}}]}})",
                                               words))
                  ->response()
                  .body,
              HasSubstr("prompt is too long: "));
  const json::value cut = post("/v1/completions", fmt::format(R"({{"prompt": "{}", "max_tokens": 2,
                                              "truncate_prompt_tokens": -1}})",
                                                              words))
                              ->body();
  EXPECT_EQ(cut.at("usage").at("prompt_tokens"), 510);
}

TEST_F(ServiceTest, SeveralPromptsGiveTheirAnswersInOrder) {
  const auto text = [this](std::string_view prompt, std::string_view fields) {
    std::vector<std::string> texts;
    const json::value body =
        post(
            "/v1/completions",
            fmt::format(R"({{"prompt": {}, "max_tokens": 4, "temperature": 0{}}})", prompt, fields))
            ->body();
    for (const json::value& choice : body.at("choices").as_array()) {
      EXPECT_EQ(choice.at("index"), texts.size());
      texts.emplace_back(choice.at("text").as_string());
    }
    return texts;
  };
  const std::string one = text(R"("Once")", "").at(0);
  const std::string two = text(R"("The river")", "").at(0);
  EXPECT_NE(one, two);
  EXPECT_THAT(text(R"(["Once", "The river"])", ""), ElementsAre(one, two));
  EXPECT_THAT(text(R"(["Once", "The river"])", R"(, "n": 2)"), ElementsAre(one, one, two, two));
  EXPECT_THAT(text(R"(["Once", "The river"])", R"(, "echo": true)"),
              ElementsAre("Once" + one, "The river" + two));
}

TEST_F(ServiceTest, TokenIdsComeWhereVllmHasThem) {
  using Ids = std::vector<TokenId>;
  const auto ids = [](const json::value& value) { return json::value_to<Ids>(value); };
  const json::value whole =
      post("/v1/completions", R"({"prompt": [[5, 6], [7]], "n": 2, "max_tokens": 3,
                                  "temperature": 0, "return_token_ids": true})")
          ->body();
  const json::array& choices = whole.at("choices").as_array();
  ASSERT_EQ(choices.size(), 4u);
  EXPECT_EQ(ids(choices[1].at("prompt_token_ids")), (Ids{5, 6}));
  EXPECT_EQ(ids(choices[2].at("prompt_token_ids")), (Ids{7}));
  for (const json::value& choice : choices)
    EXPECT_THAT(ids(choice.at("token_ids")), SizeIs(3));
  EXPECT_EQ(whole.at("usage").at("prompt_tokens"), 3);

  const std::string chat = fmt::format(
      R"({{{}, "max_tokens": 5, "temperature": 0, "return_token_ids": true)", kQuestion);
  const json::value answer = post("/v1/chat/completions", chat + "}")->body();
  const json::value rendered =
      post("/v1/chat/completions/render", fmt::format("{{{}}}", kQuestion))->body();
  EXPECT_EQ(answer.at("prompt_token_ids"), rendered.at("token_ids"));
  Ids streamed;
  const auto events = post("/v1/chat/completions", chat + R"(, "stream": true})")->events();
  EXPECT_EQ(events.front().data.at("choices").at(0).at("prompt_token_ids"),
            rendered.at("token_ids"));
  for (const auto& [name, data] : events) {
    if (!data.is_object()) continue;
    const json::object& choice = data.at("choices").at(0).as_object();
    if (!choice.contains("token_ids")) continue;
    for (const TokenId id : ids(choice.at("token_ids")))
      streamed.push_back(id);
  }
  EXPECT_EQ(streamed, ids(answer.at("choices").at(0).at("token_ids")));
  EXPECT_THAT(streamed, SizeIs(5));
}

TEST_F(ServiceTest, UsageCanComeWithEveryChunk) {
  const auto events =
      post("/v1/completions", R"({"prompt": "Once", "max_tokens": 3, "temperature": 0,
            "stream": true, "stream_options": {"include_usage": true,
            "continuous_usage_stats": true}})")
          ->events();
  int64_t before = 0;
  for (const auto& [name, data] : events) {
    if (!data.is_object()) continue;
    const int64_t tokens = data.at("usage").at("completion_tokens").as_int64();
    EXPECT_GE(tokens, before);
    before = tokens;
  }
  EXPECT_EQ(before, 3);
  EXPECT_GT(events.size(), 3u);
}

TEST_F(ServiceTest, AnAnswerGoesOnWithTheLastMessage) {
  const auto rendered = [this](std::string_view content) {
    return post("/v1/chat/completions/render",
                fmt::format(R"({{"messages": [{{"role": "user", "content": "Hi"}},
                                              {{"role": "assistant", "content": {}}}],
                                 "continue_final_message": true}})",
                            content))
        ->body();
  };
  for (const char* content : {R"("One, two")", R"("~")", R"("e.")", R"("[e~[")",
                              R"([{"type": "text", "text": "One, "},
                                  {"type": "text", "text": "two"}])"}) {
    const json::value body = rendered(content);
    ASSERT_TRUE(body.as_object().contains("prompt")) << content << to_json_text(body);
    const std::string prompt(body.at("prompt").as_string());
    const json::value parsed = parse_json(content).value();
    const std::string end =
        parsed.is_string() ? std::string(parsed.as_string()) : std::string("One, two");
    EXPECT_TRUE(prompt.ends_with("]~b]ai\n" + end)) << prompt;
    EXPECT_EQ(body.at("starts_in_reasoning"), false);
    // The tokens are of the same text; what a client spells as a control token stays text.
    EXPECT_EQ(
        post("/detokenize", fmt::format(R"({{"tokens": {}}})", to_json_text(body.at("token_ids"))))
            ->body()
            .at("prompt"),
        json::value(prompt));
  }
  EXPECT_EQ(rendered(R"("")").at("error").at("param"), "messages[1].content");
  EXPECT_EQ(rendered(R"("<think>a</think>b")").at("error").at("param"), "messages[1].content");
}

TEST_F(ServiceTest, AMessageOfTheAssistantIsContinuedInMessages) {
  const json::value body = post("/v1/messages/count_tokens",
                                R"({"messages": [{"role": "user", "content": "Hi"},
                                                 {"role": "assistant", "content": "One"}]})")
                               ->body();
  const json::value rendered = post("/v1/chat/completions/render",
                                    R"({"messages": [{"role": "user", "content": "Hi"},
                                                     {"role": "assistant", "content": "One"}],
                                        "continue_final_message": true})")
                                   ->body();
  EXPECT_EQ(body.at("input_tokens"), rendered.at("num_tokens"));
}

TEST_F(ServiceTest, TokenizeAndBack) {
  const json::value body =
      post("/tokenize", R"({"prompt": "naïve 日本", "return_token_strs": true})")->body();
  EXPECT_EQ(body.at("count"), body.at("tokens").as_array().size());
  EXPECT_EQ(body.at("max_model_len"), 512);
  EXPECT_EQ(body.at("token_strs").as_array().size(), body.at("tokens").as_array().size());
  EXPECT_EQ(post("/detokenize", fmt::format(R"({{"tokens": {}}})", to_json_text(body.at("tokens"))))
                ->response()
                .body,
            R"({"prompt":"naïve 日本"})");
  const json::value chat = post("/tokenize", fmt::format("{{{}}}", kQuestion))->body();
  const json::value rendered =
      post("/v1/chat/completions/render", fmt::format("{{{}}}", kQuestion))->body();
  EXPECT_EQ(chat.at("tokens"), rendered.at("token_ids"));
  EXPECT_TRUE(chat.at("token_strs").is_null());
  EXPECT_THAT(std::string(rendered.at("prompt").as_string()), HasSubstr("Hello"));
  for (const auto& [target, bad, param] :
       {std::tuple{"/tokenize", "{}", "prompt"},
        std::tuple{"/tokenize", R"({"prompt": "a", "messages": []})", "prompt"},
        std::tuple{"/tokenize", R"({"prompt": 1})", "prompt"},
        std::tuple{"/tokenize", R"({"prompt": "a", "return_token_strs": 1})", "return_token_strs"},
        std::tuple{"/tokenize", R"({"messages": [1]})", "messages[0]"},
        std::tuple{"/tokenize", R"({"prompt": "a", "chat_template": "x"})", "chat_template"},
        std::tuple{"/detokenize", "{}", "tokens"},
        std::tuple{"/detokenize", R"({"tokens": [-1]})", "tokens"},
        std::tuple{"/detokenize", R"({"tokens": [1], "model": "x"})", "model"}}) {
    EXPECT_EQ(post(target, bad)->body().at("error").at("param"), param) << target << bad;
  }
}

}  // namespace
}  // namespace tetrad::api
