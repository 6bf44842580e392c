#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "bench/agent_workload.h"
#include "bench/prompt_workload.h"
#include "bench/random.h"

namespace tetrad::bench {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

const std::vector<TokenId> kVocabulary = {5, 7, 11, 13, 17, 19, 23};

std::unique_ptr<Workload> prompts(const RequestSettings& settings, const PromptShape& shape,
                                  const std::vector<TokenId>& vocabulary = kVocabulary) {
  auto workload = make_prompt_workload(settings, shape, vocabulary);
  EXPECT_TRUE(workload) << workload.error().message;
  return std::move(*workload);
}

json::object body(const Workload& workload, uint64_t index) {
  return workload.session(index)->next(nullptr)->body;
}

json::array prompt(const Workload& workload, uint64_t index) {
  return body(workload, index).at("prompt").as_array();
}

TEST(Random, IsTheSameOnEveryMachine) {
  // Computed with Python's integers. A seed names one workload, in the next version too.
  Random random(42, 7);
  EXPECT_EQ(random.next(), 4191941099297208311U);
  EXPECT_EQ(random.next(), 6363199916944231005U);
  EXPECT_NE(Random(0).next(), Random(1).next());
  EXPECT_NE(Random(0).next(), Random(0, 1).next());
}

TEST(Random, StaysInItsRange) {
  Random random(3);
  std::set<int64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    seen.insert(random.between(-2, 2));
    const double unit = random.unit();
    ASSERT_TRUE(unit >= 0 && unit < 1);
    ASSERT_GE(random.exponential(1), 0);
  }
  EXPECT_THAT(seen, testing::ElementsAre(-2, -1, 0, 1, 2));
}

TEST(PromptWorkload, HasExactLengthsInTokens) {
  const auto workload = prompts({.model = "m"}, {.prefix_len = 4, .input_len = 9, .output_len = 6});
  const json::object request = body(*workload, 0);
  EXPECT_EQ(request.at("model"), "m");
  EXPECT_EQ(request.at("max_tokens"), 6);
  EXPECT_EQ(request.at("stream"), true);
  EXPECT_EQ(request.at("stream_options").at("include_usage"), true);
  EXPECT_FALSE(request.contains("ignore_eos"));
  EXPECT_FALSE(request.contains("temperature"));
  ASSERT_THAT(request.at("prompt").as_array(), SizeIs(13));
  for (const json::value& id : request.at("prompt").as_array())
    EXPECT_TRUE(std::ranges::count(kVocabulary, id.as_int64()));
}

TEST(PromptWorkload, PassesOnWhatIsAskedFor) {
  const auto workload =
      prompts({.model = "m", .ignore_eos = true, .temperature = 0.5}, {.input_len = 1});
  EXPECT_EQ(body(*workload, 0).at("ignore_eos"), true);
  EXPECT_EQ(body(*workload, 0).at("temperature"), 0.5);
}

TEST(PromptWorkload, IsDecidedBySeedAndIndex) {
  const PromptShape shape{.input_len = 40, .output_len = 20, .range_ratio = 0.5};
  const auto one = prompts({.seed = 1}, shape);
  const auto same = prompts({.seed = 1}, shape);
  const auto other = prompts({.seed = 2}, shape);
  for (const uint64_t index : {9, 3, 0, 3})
    EXPECT_EQ(body(*one, index), body(*same, index));
  EXPECT_NE(prompt(*one, 0), prompt(*one, 1));
  EXPECT_NE(prompt(*one, 0), prompt(*other, 0));
}

TEST(PromptWorkload, VariesLengthsWithinTheRatio) {
  const auto workload = prompts({}, {.input_len = 100, .output_len = 10, .range_ratio = 0.2});
  std::set<size_t> inputs;
  std::set<int64_t> outputs;
  for (uint64_t i = 0; i < 1000; ++i) {
    inputs.insert(prompt(*workload, i).size());
    outputs.insert(body(*workload, i).at("max_tokens").as_int64());
  }
  EXPECT_EQ(*inputs.begin(), 80U);
  EXPECT_EQ(*inputs.rbegin(), 120U);
  EXPECT_THAT(outputs, testing::ElementsAre(8, 9, 10, 11, 12));
}

TEST(PromptWorkload, SharesPrefixesInTurn) {
  const auto workload = prompts({}, {.prefix_len = 30, .num_prefixes = 3, .input_len = 30});
  const auto prefix = [&](uint64_t index) {
    const json::array ids = prompt(*workload, index);
    return json::array(ids.begin(), ids.begin() + 30);
  };
  const auto suffix = [&](uint64_t index) {
    const json::array ids = prompt(*workload, index);
    return json::array(ids.begin() + 30, ids.end());
  };
  EXPECT_EQ(prefix(0), prefix(3));
  EXPECT_EQ(prefix(2), prefix(5));
  EXPECT_NE(prefix(0), prefix(1));
  EXPECT_NE(prefix(1), prefix(2));
  EXPECT_NE(suffix(0), suffix(3));
}

TEST(PromptWorkload, WithoutATokenizerHasWords) {
  const auto workload = prompts({}, {.prefix_len = 4, .input_len = 6}, {});
  const std::string text(body(*workload, 0).at("prompt").as_string());
  EXPECT_EQ(std::ranges::count(text, ' '), 9);
  EXPECT_EQ(text, body(*workload, 0).at("prompt").as_string());
}

TEST(PromptWorkload, RefusesImpossibleShapes) {
  for (const PromptShape& shape : {PromptShape{.prefix_len = -1}, PromptShape{.num_prefixes = 0},
                                   PromptShape{.input_len = 0}, PromptShape{.output_len = 0},
                                   PromptShape{.range_ratio = 1}, PromptShape{.range_ratio = -1}})
    EXPECT_FALSE(make_prompt_workload({}, shape, {}));
}

TEST(PromptWorkload, RandomIdsAreOrdinaryTokens) {
  const auto tokenizer =
      Tokenizer::from_file(TETRAD_SOURCE_DIR "/models/tetrad-demo-mxfp4_16/tokenizer.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const std::vector<TokenId> ids = ordinary_tokens(*tokenizer);
  EXPECT_GT(std::ssize(ids), 1000);
  EXPECT_LT(std::ssize(ids), tokenizer->vocab_size());
  for (const char* added : {"]~b]", "[e~[", "<think>"}) {
    const auto id = tokenizer->find_added_token(added);
    ASSERT_TRUE(id) << added;
    EXPECT_EQ(std::ranges::count(ids, *id), 0) << added;
  }
}

TEST(AgentWorkload, SessionsShareWhatComesBeforeTheTask) {
  const auto workload = make_agent_workload({.model = "m"}, {});
  ASSERT_TRUE(workload);
  const json::object one = body(**workload, 0);
  const json::object two = body(**workload, 1);
  EXPECT_EQ(one.at("messages").at(0), two.at("messages").at(0));
  EXPECT_EQ(one.at("tools"), two.at("tools"));
  EXPECT_NE(one.at("messages").at(1), two.at("messages").at(1));
  EXPECT_EQ(body(**workload, 1), two);
}

TEST(AgentWorkload, WhatItSaysDoesNotDependOnTheAnswers) {
  const auto workload = make_agent_workload({.model = "m", .seed = 4}, {.num_turns = 3});
  ASSERT_TRUE(workload);
  const auto last_message = [&](const Answer& answer) {
    const auto session = (*workload)->session(6);
    session->next(nullptr);
    session->next(&answer);
    const json::object request = session->next(&answer)->body;
    EXPECT_FALSE(session->next(&answer));
    return request.at("messages").as_array().back();
  };
  EXPECT_EQ(last_message({.content = "one"}), last_message({.content = "another"}));
}

TEST(AgentWorkload, RefusesImpossibleShapes) {
  for (const AgentShape& shape : {AgentShape{.num_turns = 0}, AgentShape{.prefix_len = -1},
                                  AgentShape{.result_len = -1}, AgentShape{.output_len = 0}})
    EXPECT_FALSE(make_agent_workload({}, shape));
  const auto workload = make_agent_workload({}, {.num_turns = 0});
  EXPECT_THAT(workload.error().message, HasSubstr("--num-turns"));
}

}  // namespace
}  // namespace tetrad::bench
