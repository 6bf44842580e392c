#include "engine/ngram_drafts.h"

#include <gtest/gtest.h>

namespace tetrad {
namespace {

using Tokens = std::vector<TokenId>;

Tokens propose(const Tokens& tokens, int64_t limit = 100) {
  return propose_ngram(tokens, {.num_speculative_tokens = 4}, limit);
}

TEST(NgramDrafts, WhatFollowedTheLastTime) {
  EXPECT_EQ(propose({1, 2, 3, 4, 5, 6, 9, 1, 2}), (Tokens{3, 4, 5, 6}));
  EXPECT_EQ(propose({1, 2, 3, 9, 1, 2}), (Tokens{3, 9, 1, 2}));
  EXPECT_EQ(propose({7, 7, 7}), Tokens{7});  // it may overlap what repeats
  EXPECT_EQ(propose({1, 2, 3, 4, 5, 6, 9, 1, 2}, 2), (Tokens{3, 4}));
  EXPECT_EQ(propose({1, 2, 3, 4, 5, 6, 9, 1, 2}, 0), Tokens{});
}

TEST(NgramDrafts, TheLongestMatchThenTheLatest) {
  EXPECT_EQ(propose({1, 2, 3, 50, 8, 2, 3, 60, 1, 2, 3}).front(), 50);
  EXPECT_EQ(propose({1, 2, 50, 1, 2, 60, 1, 2}).front(), 60);
}

TEST(NgramDrafts, NothingWithoutARepetition) {
  EXPECT_EQ(propose({1, 2, 3, 4}), Tokens{});
  EXPECT_EQ(propose({2, 3, 4, 2}), Tokens{});  // one token is less than prompt_lookup_min
  EXPECT_EQ(propose({1}), Tokens{});
  EXPECT_EQ(propose({}), Tokens{});
}

TEST(DraftGovernor, PausesWhenDraftsAreWrongAndTriesAgain) {
  DraftGovernor governor;
  int64_t verified = 0;
  for (; governor.wants_drafts(); ++verified) {
    ASSERT_LT(verified, 10);
    governor.verified(4, 0);
  }
  int64_t skipped = 0;
  for (; !governor.wants_drafts(); ++skipped) {
    ASSERT_LT(skipped, 1000);
    governor.skipped();
  }
  EXPECT_GT(skipped, 8 * verified);
  for (int i = 0; i < 1000; ++i) {
    governor.verified(4, 3);
    ASSERT_TRUE(governor.wants_drafts());
  }
}

TEST(SpeculativeConfig, ReadsWhatVllmTakes) {
  const auto options = parse_speculative_config(
      R"({"method":"ngram","num_speculative_tokens":7,"prompt_lookup_max":4,"prompt_lookup_min":3})");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->num_speculative_tokens, 7);
  EXPECT_EQ(options->prompt_lookup_max, 4);
  EXPECT_EQ(options->prompt_lookup_min, 3);
  EXPECT_EQ(parse_speculative_config(R"({"method":"ngram","prompt_lookup_max":1})")
                .value()
                .prompt_lookup_min,
            1);
}

TEST(SpeculativeConfig, ErrorsNameTheField) {
  const auto complaint = [](const char* text) {
    const auto options = parse_speculative_config(text);
    EXPECT_FALSE(options) << text;
    if (options) return std::string();
    EXPECT_EQ(options.error().param, "--speculative-config");
    return options.error().message;
  };
  const auto names = [&](const char* text, const char* field) {
    EXPECT_NE(complaint(text).find(field), std::string::npos) << complaint(text);
  };
  names("ngram", "expected a JSON object");
  names("[]", "expected a JSON object");
  names("{}", "\"method\"");
  names(R"({"method":"eagle3"})", "\"method\"");
  names(R"({"method":"ngram","num_speculative_tokens":0})", "num_speculative_tokens");
  names(R"({"method":"ngram","num_speculative_tokens":"5"})", "num_speculative_tokens");
  names(R"({"method":"ngram","model":"x"})", "model");
  names(R"({"method":"ngram","prompt_lookup_min":9,"prompt_lookup_max":3})", "prompt_lookup_min");
}

}  // namespace
}  // namespace tetrad
