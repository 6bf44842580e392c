#include "engine/request_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace tetrad {
namespace {

constexpr int64_t kVocabSize = 100;
constexpr int64_t kMaxModelLen = 8;

GenerationRequest good_request() {
  return {.prompt_ids = {0, 50, 99}};
}

TEST(RequestCheck, AcceptsTheLimitsThemselves) {
  const auto accepted = [](const std::function<void(GenerationRequest&)>& change) {
    GenerationRequest request = good_request();
    change(request);
    const auto checked = check_request(request, kVocabSize, kMaxModelLen);
    EXPECT_TRUE(checked) << checked.error().message;
  };
  accepted([](GenerationRequest&) {});
  accepted([](auto& r) { r.sampling.temperature = 0.0f; });
  accepted([](auto& r) { r.sampling.temperature = 100.0f; });
  accepted([](auto& r) { r.sampling.top_p = 1e-6f; });
  accepted([](auto& r) { r.sampling.min_p = 1.0f; });
  accepted([](auto& r) { r.sampling.top_k = 1'000'000; });  // more than there are: all
  accepted([](auto& r) { r.sampling.max_tokens = 5; });
  accepted([](auto& r) { r.prompt_ids.assign(7, 1); });
  accepted([](auto& r) { r.sampling.stop = {"x"}; });
  accepted([](auto& r) { r.sampling.stop_token_ids = {0, 99}; });
  accepted([](auto& r) { r.sampling.allowed_token_ids = {0, 99}; });
  accepted([](auto& r) { r.sampling.bad_words = {{0}, {99, 1}}; });
  accepted([](auto& r) { r.sampling.logit_bias = {{0, -100.0f}, {99, 100.0f}}; });
  accepted([](auto& r) { r.sampling.repetition_penalty = 1e-6f; });
  accepted([](auto& r) { r.sampling.frequency_penalty = -2.0f; });
  accepted([](auto& r) { r.sampling.presence_penalty = 2.0f; });
  accepted([](auto& r) { r.sampling.logprobs = 0; });
  accepted([](auto& r) { r.sampling.prompt_logprobs = 20; });
  accepted([](auto& r) { r.sampling.min_tokens = 5; });
  accepted([](auto& r) { r.sampling.min_tokens = r.sampling.max_tokens = 2; });
}

struct Refused {
  const char* param;
  const char* said;  // a part of the message
  std::function<void(GenerationRequest&)> change;
};

TEST(RequestCheck, NamesTheFieldAtFault) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const Refused cases[] = {
      {"prompt", "no tokens", [](auto& r) { r.prompt_ids.clear(); }},
      {"prompt", "token 1 of the prompt is 100", [](auto& r) { r.prompt_ids[1] = 100; }},
      {"prompt", "token 2 of the prompt is -1", [](auto& r) { r.prompt_ids[2] = -1; }},
      {"prompt", "8 tokens", [](auto& r) { r.prompt_ids.assign(8, 1); }},
      {"temperature", "between", [](auto& r) { r.sampling.temperature = -0.1f; }},
      {"temperature", "between", [=](auto& r) { r.sampling.temperature = nan; }},
      {"temperature", "between", [=](auto& r) { r.sampling.temperature = infinity; }},
      {"top_p", "above 0", [](auto& r) { r.sampling.top_p = 0.0f; }},
      {"top_p", "at most 1", [](auto& r) { r.sampling.top_p = 1.01f; }},
      {"top_p", "above 0", [=](auto& r) { r.sampling.top_p = nan; }},
      {"min_p", "between", [](auto& r) { r.sampling.min_p = -0.01f; }},
      {"min_p", "between", [](auto& r) { r.sampling.min_p = 1.01f; }},
      {"min_p", "between", [=](auto& r) { r.sampling.min_p = nan; }},
      {"top_k", "at least 1", [](auto& r) { r.sampling.top_k = -1; }},
      {"max_tokens", "at least 1", [](auto& r) { r.sampling.max_tokens = -1; }},
      {"max_tokens", "exceed", [](auto& r) { r.sampling.max_tokens = 6; }},
      {"max_tokens", "exceed",
       [](auto& r) { r.sampling.max_tokens = std::numeric_limits<int64_t>::max(); }},
      {"stop", "empty", [](auto& r) { r.sampling.stop = {"x", ""}; }},
      {"stop_token_ids", "-1", [](auto& r) { r.sampling.stop_token_ids = {1, -1}; }},
      {"stop_token_ids", "100", [](auto& r) { r.sampling.stop_token_ids = {100}; }},
      {"allowed_token_ids", "100", [](auto& r) { r.sampling.allowed_token_ids = {1, 100}; }},
      {"bad_words", "-1", [](auto& r) { r.sampling.bad_words = {{1}, {1, -1}}; }},
      {"bad_words", "no tokens", [](auto& r) { r.sampling.bad_words = {{1}, {}}; }},
      {"logit_bias", "100", [](auto& r) { r.sampling.logit_bias = {{100, 1.0f}}; }},
      {"logit_bias", "token 3", [](auto& r) { r.sampling.logit_bias = {{3, 100.5f}}; }},
      {"logit_bias", "token 3", [=](auto& r) { r.sampling.logit_bias = {{3, nan}}; }},
      {"repetition_penalty", "above 0", [](auto& r) { r.sampling.repetition_penalty = 0.0f; }},
      {"repetition_penalty", "above 0", [=](auto& r) { r.sampling.repetition_penalty = nan; }},
      {"repetition_penalty", "above 0", [=](auto& r) { r.sampling.repetition_penalty = infinity; }},
      {"frequency_penalty", "between", [](auto& r) { r.sampling.frequency_penalty = 2.1f; }},
      {"frequency_penalty", "between", [=](auto& r) { r.sampling.frequency_penalty = nan; }},
      {"presence_penalty", "between", [](auto& r) { r.sampling.presence_penalty = -2.1f; }},
      {"logprobs", "between 0 and 20", [](auto& r) { r.sampling.logprobs = 21; }},
      {"logprobs", "between 0 and 20", [](auto& r) { r.sampling.logprobs = -1; }},
      {"prompt_logprobs", "between", [](auto& r) { r.sampling.prompt_logprobs = 21; }},
      {"min_tokens", "not -1", [](auto& r) { r.sampling.min_tokens = -1; }},
      {"min_tokens", "the 5 tokens", [](auto& r) { r.sampling.min_tokens = 6; }},
      {"min_tokens", "the 2 tokens",
       [](auto& r) {
         r.sampling.max_tokens = 2;
         r.sampling.min_tokens = 3;
       }},
  };
  for (const Refused& refused : cases) {
    GenerationRequest request = good_request();
    refused.change(request);
    const auto checked = check_request(request, kVocabSize, kMaxModelLen);
    ASSERT_FALSE(checked) << refused.param << ", " << refused.said;
    EXPECT_EQ(checked.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(checked.error().param, refused.param);
    EXPECT_NE(checked.error().message.find(refused.said), std::string::npos)
        << checked.error().message;
  }
}

}  // namespace
}  // namespace tetrad
