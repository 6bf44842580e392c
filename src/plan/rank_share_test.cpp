#include "plan/rank_share.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/gpu_memory.h"
#include "plan/models_for_tests.h"

namespace tetrad::plan {
namespace {

using testing::HasSubstr;

class RankShares : public testing::Test {
 protected:
  std::vector<RankShare> shares(Layout layout) const {
    std::vector<RankShare> shares;
    shares.reserve(static_cast<size_t>(layout.tensor_parallel));
    for (int64_t rank = 0; rank < layout.tensor_parallel; ++rank)
      shares.push_back(rank_share(model_.config, layout, rank));
    return shares;
  }

  PlannedModel model_ = minimax_m2_7();
};

/// The ranks' ranges, one behind the other, are all there is.
void expect_covers(const std::vector<RankShare>& shares, Range RankShare::* range, int64_t length) {
  int64_t next = 0;
  for (const RankShare& share : shares) {
    EXPECT_EQ((share.*range).begin, next);
    next = (share.*range).end;
  }
  EXPECT_EQ(next, length);
}

TEST_F(RankShares, TogetherAreTheModel) {
  for (const int64_t ranks : {1, 2, 4, 8}) {
    for (const bool expert_parallel : {false, true}) {
      const std::vector<RankShare> all = shares({ranks, expert_parallel});
      expect_covers(all, &RankShare::heads, 48);
      expect_covers(all, &RankShare::kv_heads, 8);
      expect_covers(all, &RankShare::vocabulary, 200064);
      expect_covers(all, expert_parallel ? &RankShare::experts : &RankShare::expert_columns,
                    expert_parallel ? 256 : 1536);
      for (const RankShare& share : all) {
        EXPECT_TRUE(share.counts_kv_heads);
        EXPECT_EQ(share.experts.size(), expert_parallel ? 256 / ranks : 256);
        EXPECT_EQ(share.expert_columns.size(), expert_parallel ? 1536 : 1536 / ranks);
      }
    }
  }
}

TEST_F(RankShares, BeyondTheKvHeadsEachIsKeptByNeighboursAndCountedOnce) {
  const std::vector<RankShare> all = shares({16, true});
  int64_t counted = 0;
  for (const RankShare& share : all) {
    EXPECT_EQ(share.heads.size(), 3);
    EXPECT_EQ(share.kv_heads, (Range{share.rank / 2, share.rank / 2 + 1}));
    // The heads read the KV head that the model says.
    EXPECT_EQ(share.heads.begin / 6, share.kv_heads.begin);
    EXPECT_EQ((share.heads.end - 1) / 6, share.kv_heads.begin);
    if (share.counts_kv_heads) counted += share.kv_heads.size();
  }
  EXPECT_EQ(counted, 8);
  const ModelConfig local = all[5].local_config(model_.config);
  EXPECT_EQ(local.q_size(), 3 * 128);
  EXPECT_EQ(local.kv_size(), 128);
  EXPECT_EQ(local.num_local_experts, 256);
}

TEST_F(RankShares, AVocabularyThatDoesNotDivideLeavesTheLastLess) {
  ModelConfig config = model_.config;
  config.vocab_size = 10;
  const auto tokens = [&](int64_t ranks, int64_t rank) {
    return rank_share(config, {ranks, true}, rank).vocabulary;
  };
  EXPECT_EQ(tokens(4, 0), (Range{0, 3}));
  EXPECT_EQ(tokens(4, 3), (Range{9, 10}));
  EXPECT_EQ(tokens(8, 4), (Range{8, 10}));
  EXPECT_EQ(tokens(8, 7).size(), 0);
}

TEST_F(RankShares, WhatCannotDivideIsRefusedWithWhatWould) {
  EXPECT_TRUE(check_layout(model_, {8, false}));
  EXPECT_TRUE(check_layout(model_, {16, true}));
  const auto error = check_layout(model_, {5, false}).error();
  EXPECT_EQ(error.param, "--tensor-parallel-size");
  EXPECT_THAT(error.message, HasSubstr("--tensor-parallel-size 5: 48 attention heads do not divide "
                                       "over 5 ranks; possible are 1, 2, 4, 8, 16"));
  EXPECT_FALSE(check_layout(model_, {0, false}));
}

}  // namespace
}  // namespace tetrad::plan
