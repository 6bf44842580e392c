#include "model/top_tokens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace tetrad {
namespace {

std::vector<uint32_t> top_ids(const std::vector<float>& logits, size_t count,
                              int64_t first_id = 0) {
  std::vector<LikelyToken> top(count);
  find_top_tokens(logits, first_id, top);
  std::vector<uint32_t> ids;
  ids.reserve(top.size());
  for (const LikelyToken& token : top)
    ids.push_back(token.id);
  return ids;
}

TEST(TopTokens, AreThoseOfASortedVocabulary) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> logits(1 + random() % 300);
    // Few values, so that many are equal.
    for (float& logit : logits)
      logit = static_cast<float>(random() % 20) - 10;
    std::vector<uint32_t> sorted(logits.size());
    std::iota(sorted.begin(), sorted.end(), 0u);
    std::ranges::stable_sort(sorted, [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
    sorted.resize(1 + random() % sorted.size());
    EXPECT_EQ(top_ids(logits, sorted.size()), sorted);
  }
}

TEST(TopTokens, CountIdsFromTheFirst) {
  EXPECT_EQ(top_ids({1, 3, 2}, 2, 100), (std::vector<uint32_t>{101, 102}));
}

TEST(TopTokens, OfFewerLogitsLeaveTheRest) {
  std::vector<LikelyToken> top(3, LikelyToken{.logit = -5, .id = 77});
  find_top_tokens(std::vector<float>{2}, 0, top);
  EXPECT_EQ(top[0].id, 0u);
  EXPECT_EQ(top[1].id, 77u);
  find_top_tokens({}, 0, top);
  EXPECT_EQ(top[0].id, 0u);
}

TEST(TopTokens, WhatIsNoNumberIsSeen) {
  const float none = std::nanf("");
  EXPECT_EQ(top_ids({1, 2, 3, none, 4, none}, 3), (std::vector<uint32_t>{3, 5, 4}));
  EXPECT_EQ(top_ids({none, 2, INFINITY}, 2), (std::vector<uint32_t>{0, 2}));
}

}  // namespace
}  // namespace tetrad
