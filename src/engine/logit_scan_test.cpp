#include "engine/logit_scan.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace tetrad {
namespace {

constexpr float kNoLogit = -std::numeric_limits<float>::infinity();

/// Of so few different values that many are equal.
std::vector<float> logits_with_equals(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> logits(count);
  for (float& logit : logits)
    logit = static_cast<float>(random() % 41) / 4 - 5;
  return logits;
}

std::vector<TokenKey> keys_of(const std::vector<float>& logits) {
  std::vector<TokenKey> keys;
  keys.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    keys.emplace_back(logits[i], static_cast<TokenId>(i));
  return keys;
}

TEST(TokenKey, OrdersByLogitAndThenById) {
  const float largest = std::numeric_limits<float>::max();
  const float smallest = std::numeric_limits<float>::denorm_min();
  const std::vector<float> falling{largest,   2.5f, 1,        smallest, 0,
                                   -smallest, -1,   -largest, kNoLogit};
  for (size_t i = 0; i < falling.size(); ++i) {
    const TokenKey key(falling[i], 7);
    EXPECT_EQ(key.logit(), falling[i]);
    EXPECT_EQ(key.id(), 7);
    EXPECT_LT(TokenKey(falling[i], 6), key);
    if (i > 0) {
      EXPECT_LT(TokenKey(falling[i - 1], 9), key);
    }
  }
  EXPECT_EQ(TokenKey(-0.0f, 3), TokenKey(0.0f, 3));
  EXPECT_EQ(TokenKey(1, kMaxTokenId).id(), kMaxTokenId);
}

TEST(TokenKey, AreSortedAlikeWhetherFewOrMany) {
  for (const size_t count : {0u, 1u, 100u, 4095u, 4096u, 20'000u}) {
    std::vector<TokenKey> keys = keys_of(logits_with_equals(count, 3));
    std::vector<TokenKey> expected = keys;
    std::ranges::sort(expected);
    sort_keys(keys);
    EXPECT_EQ(keys, expected) << count;
  }
}

TEST(TokenKey, TheFirstAreSortedOnlyIfThereAreMore) {
  const std::vector<TokenKey> keys = keys_of({1, 3, 2, 3});
  for (const int64_t count : {4, 5, 100}) {
    std::vector<TokenKey> kept = keys;
    keep_first(kept, count);
    EXPECT_EQ(kept, keys);
  }
  std::vector<TokenKey> kept = keys;
  keep_first(kept, 3);
  EXPECT_EQ(kept, (std::vector<TokenKey>{{3, 1}, {3, 3}, {2, 2}}));
}

TEST(LogitScan, FindsTheBestAndSaysWhetherAllAreFinite) {
  LogitScan scan;
  for (const size_t count : {1u, 63u, 64u, 65u, 4096u, 4097u, 9000u}) {
    for (const size_t place : {size_t{0}, count / 2, count - 1}) {
      std::vector<float> logits = logits_with_equals(count, 1);
      logits.back() = 8;
      logits[place] = 8;
      EXPECT_TRUE(scan.read(logits));
      EXPECT_EQ(scan.largest(), 8);
      EXPECT_EQ(scan.best(), static_cast<TokenId>(place));
      logits[place] = kNoLogit;
      EXPECT_FALSE(scan.read(logits));
      EXPECT_EQ(scan.largest(), *std::ranges::max_element(logits));
    }
  }
}

TEST(LogitScan, AtLeastSoManyReachTheBound) {
  LogitScan scan;
  for (const size_t count : {50u, 1000u, 9000u}) {
    std::vector<float> logits = logits_with_equals(count, 2);
    std::mt19937 random(5);
    for (size_t i = 0; i < count / 2; ++i)
      logits[random() % count] = kNoLogit;
    scan.read(logits);
    for (const int64_t wanted : {1, 2, 10, 20, 100, 10'000}) {
      const float bound = scan.bound_of(wanted);
      std::vector<TokenKey> keys;
      scan.collect(bound, keys);
      std::vector<TokenKey> expected = keys_of(logits);
      std::erase_if(expected, [=](const TokenKey& key) { return key.logit() < bound; });
      EXPECT_EQ(keys, expected);
      EXPECT_GT(bound, kNoLogit);
      if (bound > std::numeric_limits<float>::lowest()) {
        EXPECT_GE(std::ssize(keys), wanted);
      }
    }
    EXPECT_EQ(scan.bound_of(0), std::numeric_limits<float>::lowest());
    EXPECT_EQ(scan.bound_of(1), scan.largest());
  }
}

TEST(LogitScan, MayBeAskedOfLogitsThatAreNotNumbers) {
  std::vector<float> logits = logits_with_equals(500, 4);
  for (size_t i = 0; i < logits.size(); i += 3)
    logits[i] = std::numeric_limits<float>::quiet_NaN();
  LogitScan scan;
  EXPECT_FALSE(scan.read(logits));
  std::vector<TokenKey> keys;
  scan.collect(scan.bound_of(5), keys);
  EXPECT_LE(keys.size(), logits.size());
}

}  // namespace
}  // namespace tetrad
