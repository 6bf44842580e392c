#include "plan/sharding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/gpu_memory.h"
#include "plan/models_for_tests.h"

namespace tetrad::plan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Sharding : public testing::Test {
 protected:
  Shard shard(std::string_view name, Layout layout) const {
    for (const WeightClass& weight : model_.weights) {
      if (weight.name == name) return shard_of(weight, model_.config, layout);
    }
    ADD_FAILURE() << "no " << name;
    return {};
  }

  static std::vector<std::string> sentences(const PlannedModel& model, Layout layout) {
    const std::vector<Finding> findings = check_division(model, layout);
    std::vector<std::string> texts;
    texts.reserve(findings.size());
    for (const Finding& finding : findings)
      texts.push_back(fmt::format("{}: {}", severity_name(finding.severity), finding.text));
    return texts;
  }

  PlannedModel model_ = minimax_m2_7();
};

constexpr Layout kEightWithExperts{.tensor_parallel = 8, .expert_parallel = true};

TEST_F(Sharding, CutsRowsOfHeadsAndColumnsOfTheOutput) {
  const Shard q = shard("model.layers.*.self_attn.q_proj", kEight);
  EXPECT_EQ(q.dim, 0);
  EXPECT_EQ(q.rows, 768);
  EXPECT_EQ(q.cols, 3072);
  EXPECT_EQ(shard("model.layers.*.self_attn.k_proj", kEight).rows, 128);
  EXPECT_EQ(shard("model.layers.*.self_attn.q_norm.weight", kEight).rows, 768);
  EXPECT_EQ(shard("model.layers.*.self_attn.k_norm.weight", kEight).rows, 128);
  const Shard o = shard("model.layers.*.self_attn.o_proj", kEight);
  EXPECT_EQ(o.dim, 1);
  EXPECT_EQ(o.rows, 3072);
  EXPECT_EQ(o.cols, 768);
  EXPECT_EQ(shard("lm_head", kEight).rows, 25008);
}

TEST_F(Sharding, CutsExpertsOrDealsThemOut) {
  const Shard cut = shard("model.layers.*.block_sparse_moe.experts.*.w2", kEight);
  EXPECT_EQ(cut.dim, 1);
  EXPECT_EQ(cut.cols, 192);
  EXPECT_EQ(cut.count, 62 * 256);
  EXPECT_EQ(cut.bytes, int64_t{62} * 256 * 3072 * 192 / 8 * 5);
  const Shard whole = shard("model.layers.*.block_sparse_moe.experts.*.w2", kEightWithExperts);
  EXPECT_EQ(whole.dim, -1);
  EXPECT_EQ(whole.cols, 1536);
  EXPECT_EQ(whole.count, 62 * 32);
  EXPECT_EQ(whole.bytes, cut.bytes);
}

TEST_F(Sharding, RouterAndNormsAreWholeOnEachRank) {
  const Shard router = shard("model.layers.*.block_sparse_moe.gate", kEight);
  EXPECT_EQ(router.dim, -1);
  EXPECT_EQ(router.rows, 256);
  EXPECT_EQ(router.bytes, int64_t{62} * 256 * 3072 * 2);
}

TEST_F(Sharding, ShardsOfAllRanksAreTheModel) {
  for (const int64_t ranks : {1, 2, 4, 8}) {
    const Layout layout{.tensor_parallel = ranks};
    int64_t sum = 0;
    for (const WeightClass& weight : model_.weights) {
      const Shard part = shard_of(weight, model_.config, layout);
      sum += part.dim < 0 ? weight.bytes() : part.bytes * ranks;
    }
    EXPECT_EQ(sum, model_.weight_bytes()) << ranks;
  }
}

TEST_F(Sharding, GroupsOf16DivideWhereFp8BlocksDoNot) {
  EXPECT_THAT(sentences(model_, kEight), IsEmpty());
  const PlannedModel fp8 = minimax_m2_7({.weights = WeightFormat::fp8_block});
  EXPECT_THAT(
      sentences(fp8, kEight),
      ElementsAre(
          HasSubstr("warning: model.layers.*.block_sparse_moe.experts.*.w1: 1536 rows over 8 ranks "
                    "are 192 each, which cuts an FP8 block of 128"),
          HasSubstr("experts.*.w3: 1536 rows"), HasSubstr("experts.*.w2: 1536 columns")));
  EXPECT_THAT(sentences(fp8, {.tensor_parallel = 4}), IsEmpty());
  EXPECT_THAT(sentences(fp8, kEightWithExperts), IsEmpty());
}

TEST_F(Sharding, AnFp8SliceHasTheScalesOfAllBlocksItTouches) {
  const PlannedModel fp8 = minimax_m2_7({.weights = WeightFormat::fp8_block});
  int64_t experts = 0;
  for (const WeightClass& weight : fp8.weights) {
    if (weight.is_expert()) experts += shard_of(weight, fp8.config, kEight).bytes;
  }
  // 192 of 1536 always touch 2 blocks of 128: w1 and w3 have 2 x 24 scales, w2 24 x 2.
  EXPECT_EQ(experts, int64_t{62} * 256 * 3 * (192 * 3072 + 2 * 24 * 4));
}

TEST_F(Sharding, MoreRanksThanKvHeads) {
  EXPECT_THAT(sentences(model_, {.tensor_parallel = 16}),
              ElementsAre(HasSubstr("warning: 8 KV heads are fewer than 16 ranks: each is kept by "
                                    "2 of them")));
  EXPECT_EQ(kv_heads_per_rank(model_.config, {.tensor_parallel = 16}), 1);
  EXPECT_EQ(heads_per_rank(model_.config, {.tensor_parallel = 16}), 3);
  EXPECT_EQ(shard("model.layers.*.self_attn.k_proj", {.tensor_parallel = 16}).rows, 128);
}

TEST_F(Sharding, WhatCannotDivideIsAnError) {
  EXPECT_THAT(sentences(model_, {.tensor_parallel = 5}),
              testing::IsSupersetOf(
                  {HasSubstr("error: 48 attention heads do not divide over 5 ranks"),
                   HasSubstr("error: 8 KV heads do not divide over 5 ranks"),
                   HasSubstr("error: experts of width 1536 do not divide over 5 ranks"),
                   HasSubstr("warning: the 200064 rows of embedding and head do not divide")}));
  EXPECT_THAT(sentences(model_, {.tensor_parallel = 12}),
              ElementsAre(HasSubstr("error: 8 KV heads do not divide over 12 ranks")));
  EXPECT_THAT(sentences(model_, {.tensor_parallel = 3, .expert_parallel = true}),
              testing::Contains(HasSubstr("error: 256 experts do not divide over 3 ranks")));
}

TEST_F(Sharding, AGroupOf16IsNeverCut) {
  // 1536 / 64 = 24 columns: one group and a half.
  EXPECT_THAT(sentences(model_, {.tensor_parallel = 64}),
              testing::Contains(HasSubstr("experts.*.w2: 1536 columns over 64 ranks are 24 each, "
                                          "which cuts a group of 16")));
  EXPECT_EQ(shard("model.layers.*.block_sparse_moe.experts.*.w2", {.tensor_parallel = 64}).cols,
            32);
}

TEST_F(Sharding, SizesThatDivide) {
  EXPECT_THAT(dividing_sizes(model_, false, 64), ElementsAre(1, 2, 4, 8));
  const PlannedModel fp8 = minimax_m2_7({.weights = WeightFormat::fp8_block});
  EXPECT_THAT(dividing_sizes(fp8, false, 64), ElementsAre(1, 2, 4));
  EXPECT_THAT(dividing_sizes(fp8, true, 64), ElementsAre(1, 2, 4, 8));
}

}  // namespace
}  // namespace tetrad::plan
