#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/chat_request.h"
#include "api/completion_request.h"
#include "api/request_bodies_for_tests.h"

namespace tetrad::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ChatRequest, ReadsEveryField) {
  const auto request = parse_chat_request(R"({
    "model": "m", "messages": [{"role": "user", "content": "Hi"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": 2}}}],
    "temperature": 0.5, "top_p": 0.9, "min_p": 0.1, "top_k": 7, "seed": -5, "max_tokens": 3,
    "stop": ["a", "b"], "stop_token_ids": [1, 2], "ignore_eos": true,
    "skip_special_tokens": false, "stream": true, "stream_options": {"include_usage": true},
    "add_generation_prompt": false, "chat_template_kwargs": {"x": 1},
    "reasoning_effort": "low", "include_reasoning": false})");
  ASSERT_TRUE(request) << request.error().message;
  const SamplingRequest& sampling = request->common.sampling;
  EXPECT_EQ(request->common.model, "m");
  EXPECT_EQ(sampling.temperature, 0.5);
  EXPECT_EQ(sampling.top_p, 0.9);
  EXPECT_EQ(sampling.min_p, 0.1);
  EXPECT_EQ(sampling.top_k, 7);
  EXPECT_EQ(sampling.seed, -5);
  EXPECT_EQ(sampling.max_tokens, 3);
  EXPECT_THAT(sampling.stop, ElementsAre("a", "b"));
  EXPECT_THAT(sampling.stop_token_ids, ElementsAre(1, 2));
  EXPECT_TRUE(sampling.ignore_eos);
  EXPECT_FALSE(sampling.skip_special_tokens);
  EXPECT_TRUE(request->common.stream);
  EXPECT_TRUE(request->common.include_usage);
  EXPECT_FALSE(request->input.add_generation_prompt);
  EXPECT_FALSE(request->include_reasoning);
  EXPECT_EQ(request->input.messages.size(), 1u);
  EXPECT_EQ(to_json_text(request->input.tools.at(0).at("function").at("parameters")),
            R"({"b":1,"a":2})");
  EXPECT_EQ(request->input.template_kwargs.at("x"), 1);
  EXPECT_EQ(request->input.template_kwargs.at("reasoning_effort"), "low");
  EXPECT_TRUE(request->common.unknown_fields.empty());
}

TEST(ChatRequest, AbsentAndNullAreTheSame) {
  const auto absent = parse_chat_request(chat_body());
  const auto null = parse_chat_request(chat_body(
      R"("model": null, "temperature": null, "stop": null, "stream": null, "tools": null,
         "tool_choice": null, "stream_options": null, "n": null, "max_tokens": null)"));
  for (const auto* request : {&absent, &null}) {
    ASSERT_TRUE(*request);
    EXPECT_FALSE((*request)->common.model);
    EXPECT_FALSE((*request)->common.sampling.temperature);
    EXPECT_FALSE((*request)->common.sampling.max_tokens);
    EXPECT_FALSE((*request)->common.stream);
    EXPECT_TRUE((*request)->input.add_generation_prompt);
  }
}

class BadChatField : public testing::TestWithParam<BadField> {};

TEST_P(BadChatField, IsNamed) {
  const auto request = parse_chat_request(chat_body(GetParam().field));
  ASSERT_FALSE(request) << GetParam().field;
  EXPECT_EQ(request.error().param, GetParam().param);
  EXPECT_THAT(request.error().message, HasSubstr(GetParam().param));
  EXPECT_TRUE(request.error().code == ErrorCode::invalid_argument ||
              request.error().code == ErrorCode::unsupported);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadChatField,
    testing::Values(
        BadField{R"("model": 1)", "model"}, BadField{R"("temperature": "hot")", "temperature"},
        BadField{R"("temperature": -0.1)", "temperature"},
        BadField{R"("temperature": 2.1)", "temperature"},
        BadField{R"("temperature": 1e999)", "temperature"}, BadField{R"("top_p": 0)", "top_p"},
        BadField{R"("top_p": 1.5)", "top_p"}, BadField{R"("min_p": -1)", "min_p"},
        BadField{R"("top_k": -2)", "top_k"}, BadField{R"("top_k": 1.5)", "top_k"},
        BadField{R"("seed": 18446744073709551615)", "seed"},
        BadField{R"("max_tokens": 0)", "max_tokens"},
        BadField{R"("max_tokens": 1e300)", "max_tokens"},
        BadField{R"("max_completion_tokens": -1)", "max_completion_tokens"},
        BadField{R"("stop": "")", "stop"}, BadField{R"("stop": [1])", "stop"},
        BadField{R"("stop": {})", "stop"},
        BadField{R"("stop": ["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"])",
                 "stop"},
        BadField{R"("stop_token_ids": [-1])", "stop_token_ids"},
        BadField{R"("stop_token_ids": [2147483648])", "stop_token_ids"},
        BadField{R"("stop_token_ids": 5)", "stop_token_ids"},
        BadField{R"("ignore_eos": 1)", "ignore_eos"}, BadField{R"("stream": "yes")", "stream"},
        BadField{R"("stream_options": {"include_usage": true})", "stream_options"},
        BadField{R"("stream": true, "stream_options": {"include_usage": 1})",
                 "stream_options.include_usage"},
        BadField{R"("chat_template_kwargs": [])", "chat_template_kwargs"},
        BadField{R"("reasoning_effort": 1)", "reasoning_effort"},
        BadField{R"("reasoning_effort": "none")", "reasoning_effort"},
        BadField{R"("reasoning_effort": "much")", "reasoning_effort"},
        BadField{R"("include_reasoning": 1)", "include_reasoning"},
        BadField{R"("thinking_token_budget": -1)", "thinking_token_budget"},
        BadField{R"("thinking_token_budget": 1.5)", "thinking_token_budget"},
        BadField{R"("truncate_prompt_tokens": 0)", "truncate_prompt_tokens"},
        BadField{R"("truncate_prompt_tokens": -2)", "truncate_prompt_tokens"},
        BadField{R"("request_id": "")", "request_id"},
        BadField{R"("request_id": "a\r\nb: c")", "request_id"},
        BadField{R"("continue_final_message": true)", "continue_final_message"},
        BadField{R"("add_generation_prompt": 1)", "add_generation_prompt"}));

INSTANTIATE_TEST_SUITE_P(
    NotImplemented, BadChatField,
    testing::Values(
        BadField{R"("best_of": 2)", "best_of"}, BadField{R"("echo": true)", "echo"},
        BadField{R"("response_format": {"type": "structural_tag"})", "response_format.type"},
        BadField{R"("structured_outputs": {"structural_tag": "a"})",
                 "structured_outputs.structural_tag"},
        BadField{R"("functions": [{"name": "f"}])", "functions"},
        BadField{R"("chat_template": "x")", "chat_template"},
        BadField{R"("modalities": ["text", "audio"])", "modalities"},
        BadField{R"("return_token_ids": 1)", "return_token_ids"},
        BadField{R"("return_prompt_text": true)", "return_prompt_text"},
        BadField{R"("use_beam_search": true)", "use_beam_search"},
        BadField{R"("repetition_detection": {})", "repetition_detection"},
        BadField{R"("truncation_side": "right")", "truncation_side"},
        BadField{R"("web_search_options": {})", "web_search_options"},
        BadField{R"("moderation": {})", "moderation"},
        BadField{R"("verbosity": "low")", "verbosity"},
        BadField{R"("documents": [{}])", "documents"},
        BadField{R"("media_io_kwargs": {"a": 1})", "media_io_kwargs"},
        BadField{R"("kv_transfer_params": {})", "kv_transfer_params"},
        BadField{R"("vllm_xargs": {"a": 1})", "vllm_xargs"},
        BadField{R"("stream": true, "stream_options": {"continuous_usage_stats": true})",
                 "stream_options.continuous_usage_stats"}));

INSTANTIATE_TEST_SUITE_P(
    Tokens, BadChatField,
    testing::Values(BadField{R"("repetition_penalty": 0)", "repetition_penalty"},
                    BadField{R"("repetition_penalty": "1")", "repetition_penalty"},
                    BadField{R"("frequency_penalty": 2.1)", "frequency_penalty"},
                    BadField{R"("frequency_penalty": [])", "frequency_penalty"},
                    BadField{R"("presence_penalty": -2.1)", "presence_penalty"},
                    BadField{R"("presence_penalty": true)", "presence_penalty"},
                    BadField{R"("logit_bias": [1])", "logit_bias"},
                    BadField{R"("logit_bias": {"five": 1})", "logit_bias"},
                    BadField{R"("logit_bias": {"": 1})", "logit_bias"},
                    BadField{R"("logit_bias": {"-1": 1})", "logit_bias"},
                    BadField{R"("logit_bias": {"05": 1})", "logit_bias"},
                    BadField{R"("logit_bias": {"5 ": 1})", "logit_bias"},
                    BadField{R"("logit_bias": {"2147483648": 1})", "logit_bias"},
                    BadField{R"("logit_bias": {"5": 100.5})", "logit_bias.5"},
                    BadField{R"("logit_bias": {"5": "1"})", "logit_bias.5"},
                    BadField{R"("logit_bias": {"5": null})", "logit_bias.5"},
                    BadField{R"("allowed_token_ids": [])", "allowed_token_ids"},
                    BadField{R"("allowed_token_ids": 5)", "allowed_token_ids"},
                    BadField{R"("allowed_token_ids": [-1])", "allowed_token_ids"},
                    BadField{R"("allowed_token_ids": ["5"])", "allowed_token_ids"},
                    BadField{R"("bad_words": "word")", "bad_words"},
                    BadField{R"("bad_words": [1])", "bad_words"},
                    BadField{R"("bad_words": [""])", "bad_words"},
                    BadField{R"("bad_words": [" "])", "bad_words"},
                    BadField{R"("min_tokens": -1)", "min_tokens"},
                    BadField{R"("min_tokens": "1")", "min_tokens"},
                    BadField{R"("include_stop_str_in_output": 1)", "include_stop_str_in_output"},
                    BadField{R"("logprobs": 5)", "logprobs"},
                    BadField{R"("logprobs": true, "top_logprobs": 21)", "top_logprobs"},
                    BadField{R"("logprobs": true, "top_logprobs": -1)", "top_logprobs"},
                    BadField{R"("top_logprobs": 3)", "top_logprobs"},
                    BadField{R"("logprobs": false, "top_logprobs": 3)", "top_logprobs"},
                    BadField{R"("prompt_logprobs": 21)", "prompt_logprobs"},
                    BadField{R"("prompt_logprobs": -1)", "prompt_logprobs"},
                    BadField{R"("prompt_logprobs": true)", "prompt_logprobs"},
                    BadField{R"("prompt_logprobs": 1, "stream": true)", "prompt_logprobs"},
                    BadField{R"("n": 0)", "n"}, BadField{R"("n": 17)", "n"},
                    BadField{R"("n": "2")", "n"}, BadField{R"("priority": 2147483648)", "priority"},
                    BadField{R"("priority": "high")", "priority"},
                    BadField{R"("cache_salt": "")", "cache_salt"},
                    BadField{R"("cache_salt": 1)", "cache_salt"}));

TEST(ChatRequest, ReadsWhatSpeaksOfTokens) {
  const auto request = parse_chat_request(chat_body(
      R"("repetition_penalty": 1.5, "frequency_penalty": -2, "presence_penalty": 2,
         "logit_bias": {"5": -100, "0": 2.5}, "allowed_token_ids": [7, 8], "bad_words": ["a", " b"],
         "min_tokens": 2, "include_stop_str_in_output": true, "logprobs": true, "top_logprobs": 20,
         "prompt_logprobs": 0, "n": 16, "priority": -3, "cache_salt": "s")"));
  ASSERT_TRUE(request) << request.error().message;
  const CommonRequest& common = request->common;
  EXPECT_EQ(common.num_answers, 16);
  EXPECT_EQ(common.priority, -3);
  EXPECT_EQ(common.cache_salt, "s");
  EXPECT_THAT(common.sampling.bad_words, ElementsAre("a", "b"));
  EXPECT_TRUE(common.unknown_fields.empty());
  const SamplingParams params = resolve(common.sampling, {});
  EXPECT_EQ(params.repetition_penalty, 1.5f);
  EXPECT_EQ(params.frequency_penalty, -2.0f);
  EXPECT_EQ(params.presence_penalty, 2.0f);
  ASSERT_EQ(params.logit_bias.size(), 2u);
  EXPECT_EQ(params.logit_bias[0].id, 5);
  EXPECT_EQ(params.logit_bias[0].bias, -100.0f);
  EXPECT_EQ(params.logit_bias[1].id, 0);
  EXPECT_EQ(params.logit_bias[1].bias, 2.5f);
  EXPECT_THAT(params.allowed_token_ids, ElementsAre(7, 8));
  EXPECT_EQ(params.min_tokens, 2);
  EXPECT_TRUE(params.include_stop_str_in_output);
  EXPECT_EQ(params.logprobs, 20);
  EXPECT_EQ(params.prompt_logprobs, 0);
}

TEST(ChatRequest, LogprobsWithoutATopAreThoseOfTheTokens) {
  EXPECT_EQ(parse_chat_request(chat_body(R"("logprobs": true)"))->common.sampling.logprobs, 0);
  EXPECT_EQ(parse_chat_request(chat_body())->common.sampling.logprobs, std::nullopt);
}

TEST(ChatRequest, ListsOfTokensAreLimited) {
  for (const auto& [field, param] :
       {std::pair{"\"logit_bias\": {" + many(1025, R"("{}":1)") + "}", "logit_bias"},
        std::pair{"\"allowed_token_ids\": [" + many(65'537, "{}") + "]", "allowed_token_ids"},
        std::pair{"\"bad_words\": [" + many(129, R"("w{}")") + "]", "bad_words"},
        std::pair{"\"bad_words\": [\"" + std::string(257, 'x') + "\"]", "bad_words"},
        std::pair{"\"cache_salt\": \"" + std::string(1025, 'x') + "\"", "cache_salt"}}) {
    const auto request = parse_chat_request(chat_body(field));
    ASSERT_FALSE(request) << param;
    EXPECT_EQ(request.error().param, param);
  }
}

TEST(ChatRequest, FieldsThatAskForNothingAreAccepted) {
  const auto request = parse_chat_request(chat_body(
      R"("n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "repetition_penalty": 1.0,
         "logprobs": false, "top_logprobs": 0, "logit_bias": {}, "response_format": {"type": "text"},
         "functions": [], "parallel_tool_calls": true, "modalities": ["text"], "min_tokens": 0,
         "bad_words": [], "echo": false, "user": "u", "metadata": {"a": "b"}, "store": true,
         "service_tier": "auto", "best_of": 1, "tool_choice": "auto", "top_k": -1)"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_TRUE(request->common.unknown_fields.empty());
  // The log tells of them.
  EXPECT_THAT(request->common.fields_without_effect,
              ElementsAre("user", "metadata", "store", "service_tier"));
}

TEST(ChatRequest, UnknownFieldsAreReportedNotRefused) {
  const auto request = parse_chat_request(
      chat_body(R"("temprature": 0, "stream": true, "stream_options": {"usage": true})"));
  ASSERT_TRUE(request);
  EXPECT_THAT(request->common.unknown_fields, ElementsAre("stream_options.usage", "temprature"));
}

TEST(ChatRequest, MessagesMustBeThere) {
  for (const char* body : {"{}", R"({"messages": []})", R"({"messages": null})",
                           R"({"messages": "Hi"})", R"({"messages": {}})"}) {
    const auto request = parse_chat_request(body);
    ASSERT_FALSE(request) << body;
    EXPECT_EQ(request.error().param, "messages");
  }
  const auto request = parse_chat_request(R"({"messages": [{"role": "user", "content": "a"}, 5]})");
  ASSERT_FALSE(request);
  EXPECT_EQ(request.error().param, "messages[1]");
}

TEST(ChatRequest, NumbersOfThingsAreLimited) {
  std::string messages;
  for (int i = 0; i <= 4096; ++i)
    messages += R"({"role":"user","content":""},)";
  messages.pop_back();
  const auto request = parse_chat_request(R"({"messages": [)" + messages + "]}");
  ASSERT_FALSE(request);
  EXPECT_THAT(request.error().message, HasSubstr("at most 4096"));
  const auto stop = parse_chat_request(chat_body(R"("stop": ")" + std::string(1025, 'x') + R"(")"));
  ASSERT_FALSE(stop);
  EXPECT_EQ(stop.error().param, "stop");
}

TEST(ChatRequest, GoesOnWithTheLastMessageOfTheAssistant) {
  const auto parse = [](std::string_view role, std::string_view fields) {
    return parse_chat_request(fmt::format(
        R"({{"messages": [{{"role": "{}", "content": "Hi"}}], "continue_final_message": true{}}})",
        role, fields));
  };
  const auto request = parse("assistant", "");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_TRUE(request->continue_final_message);
  EXPECT_FALSE(request->input.add_generation_prompt);
  EXPECT_TRUE(parse("assistant", R"(, "add_generation_prompt": false)"));
  for (const auto& bad :
       {parse("assistant", R"(, "add_generation_prompt": true)"), parse("user", ""),
        parse("user", R"(, "add_generation_prompt": false)")}) {
    ASSERT_FALSE(bad);
    EXPECT_EQ(bad.error().param, "continue_final_message");
  }
}

TEST(ChatRequest, ReadsWhatBelongsToServing) {
  const auto request =
      parse_chat_request(chat_body(R"("request_id": "a-1.B:c_", "truncate_prompt_tokens": -1,
                   "thinking_token_budget": 0, "reasoning_effort": "minimal")"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->common.request_id, "a-1.B:c_");
  EXPECT_EQ(request->common.truncate_prompt_tokens, -1);
  EXPECT_EQ(request->thinking_token_budget, 0);
  EXPECT_EQ(request->input.template_kwargs.at("reasoning_effort"), "minimal");
  EXPECT_THAT(request->common.fields_without_effect, ElementsAre("reasoning_effort"));
}

TEST(Body, MustBeAJsonObject) {
  for (const char* body : {"", "{", "[]", "null", R"({"a":1,"a":2})", "{\"a\": \"\xff\"}"}) {
    for (const Error& error :
         {parse_chat_request(body).error(), parse_completion_request(body).error()}) {
      EXPECT_EQ(error.code, ErrorCode::invalid_argument) << body;
      EXPECT_THAT(error.message, HasSubstr("request body")) << body;
    }
  }
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_FALSE(parse_chat_request(chat_body(R"("metadata": )" + deep)));
}

TEST(SamplingRequest, RequestThenModelThenOpenAi) {
  const SamplingDefaults none;
  EXPECT_EQ(resolve({}, none).temperature, 1.0f);
  EXPECT_EQ(resolve({}, none).top_p, 1.0f);
  EXPECT_EQ(resolve({}, none).top_k, 0);
  const SamplingDefaults model{.temperature = 0.7, .top_p = 0.9, .top_k = 40, .max_tokens = 5};
  EXPECT_EQ(resolve({}, model).temperature, 0.7f);
  EXPECT_EQ(resolve({}, model).top_p, 0.9f);
  EXPECT_EQ(resolve({}, model).top_k, 40);
  EXPECT_EQ(resolve({}, model).max_tokens, 5);
  const SamplingRequest request{.temperature = 0.0, .top_k = -1, .seed = 3, .max_tokens = 9};
  EXPECT_EQ(resolve(request, model).temperature, 0.0f);
  EXPECT_EQ(resolve(request, model).top_k, 0);
  EXPECT_EQ(resolve(request, model).top_p, 0.9f);
  EXPECT_EQ(resolve(request, model).seed, 3u);
  EXPECT_EQ(resolve(request, model).max_tokens, 9);
}

TEST(SamplingRequest, TheNewerNameOfMaxTokensWins) {
  const auto request =
      parse_chat_request(chat_body(R"("max_tokens": 5, "max_completion_tokens": 6)"));
  EXPECT_EQ(request->common.sampling.max_tokens, 6);
}

TEST(SamplingRequest, OverridesLieOverTheModelsDefaults) {
  SamplingDefaults defaults{.temperature = 0.7, .top_k = 40};
  const auto apply = [&defaults](std::string_view json) {
    return override_defaults(defaults, parse_json(json)->get_object());
  };
  ASSERT_TRUE(apply(R"({"temperature": 0.2, "max_new_tokens": 100})"));
  EXPECT_EQ(defaults.temperature, 0.2);
  EXPECT_EQ(defaults.top_k, 40);
  EXPECT_EQ(defaults.max_tokens, 100);
  EXPECT_EQ(apply(R"({"temperature": 3})").error().param, "temperature");
  ASSERT_TRUE(apply(R"({"repetition_penalty": 1.25})"));
  EXPECT_EQ(resolve({}, defaults).repetition_penalty, 1.25f);
  EXPECT_EQ(apply(R"({"length_penalty": 1.1})").error().param, "length_penalty");
}

}  // namespace
}  // namespace tetrad::api
