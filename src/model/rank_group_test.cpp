#include "model/rank_group.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <thread>

#include "parallel/in_process.h"

namespace tetrad {
namespace {

/// Ranks of a vocabulary that does not divide: 10 tokens over 8 ranks are 2, 2, 2, 2, 2, 0, 0, 0.
constexpr int64_t kOddVocab = 10;

ModelConfig odd_config() {
  ModelConfig config;
  config.vocab_size = kOddVocab;
  config.hidden_size = 4;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.intermediate_size = 16;
  config.num_local_experts = 8;
  return config;
}

void on_each_rank(int size, const std::function<void(RankGroup&)>& body) {
  auto ends = parallel::make_in_process_ranks(size);
  std::vector<std::thread> threads;
  threads.reserve(ends.size());
  for (auto& end : ends) {
    threads.emplace_back([&body, size, mine = std::move(end)]() mutable {
      RankGroup group =
          RankGroup::join(odd_config(), {.tensor_parallel = size}, std::move(mine)).value();
      body(group);
    });
  }
  for (std::thread& thread : threads)
    thread.join();
}

std::vector<float> some_values(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values)
    value = static_cast<float>(random() % 1000) / 100 - 5;
  return values;
}

/// The columns of a matrix that a rank has.
std::vector<float> columns_of(const std::vector<float>& whole, int64_t cols, plan::Range range) {
  std::vector<float> part;
  for (auto row = whole.begin(); row != whole.end(); row += cols)
    part.insert(part.end(), row + range.begin, row + range.end);
  return part;
}

TEST(RankGroups, GatherLogitsOfAVocabularyThatDoesNotDivide) {
  const std::vector<float> whole = some_values(3 * kOddVocab, 1);
  for (const int size : {1, 4, 8}) {
    on_each_rank(size, [&](RankGroup& group) {
      const plan::Range here = group.share().vocabulary;
      std::vector<float> part = columns_of(whole, kOddVocab, here);
      const Activations logits = group.gather_logits({part.data(), 3, here.size()}).value();
      EXPECT_EQ(std::vector<float>(logits.data, logits.data + 3 * kOddVocab), whole);
    });
  }
}

TEST(RankGroups, GatherTheLikeliestTokens) {
  // Equal logits on several ranks.
  const std::vector<float> whole = {1, 7, 3, 7, 5, 0, 7, 2, 1, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  for (const int size : {1, 4, 8}) {
    on_each_rank(size, [&](RankGroup& group) {
      const plan::Range here = group.share().vocabulary;
      std::vector<float> part = columns_of(whole, kOddVocab, here);
      const Activations logits{part.data(), 2, here.size()};
      const auto ids = [&](int64_t count) {
        std::vector<uint32_t> of_tokens;
        const std::span<const LikelyToken> top = group.gather_top(logits, count).value();
        for (const LikelyToken& token : top)
          of_tokens.push_back(token.id);
        return of_tokens;
      };
      EXPECT_EQ(ids(5), (std::vector<uint32_t>{1, 3, 6, 9, 4, 0, 1, 2, 3, 4}));
      // Of more than there are: all.
      EXPECT_EQ(ids(100), (std::vector<uint32_t>{1, 3, 6, 9, 4, 2, 7, 0, 8, 5,  //
                                                 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    });
  }
}

TEST(RankGroups, EmbedWithTheTableOfAll) {
  const std::vector<float> table = some_values(4 * kOddVocab, 2);
  const std::vector<int32_t> ids = {9, 0, 4, 4, 7};
  for (const int size : {1, 4, 8}) {
    on_each_rank(size, [&](RankGroup& group) {
      const plan::Range here = group.share().vocabulary;
      const WeightMatrix part{
          .format = WeightFormat::f32,
          .rows = here.size(),
          .cols = 4,
          .data = reinterpret_cast<const std::byte*>(table.data() + here.begin * 4)};
      std::vector<float> out(ids.size() * 4, -1.0f);
      const auto ops = make_reference_kernels();
      ASSERT_TRUE(group.embed(*ops, part, ids, {out.data(), 5, 4}));
      for (size_t i = 0; i < out.size(); ++i)
        EXPECT_EQ(out[i], table[static_cast<size_t>(ids[i / 4]) * 4 + i % 4]) << i;
    });
  }
}

// Over 8 ranks each of the 2 KV heads is on 4 of them.
TEST(RankGroups, NormOverTheHeadsOfAll) {
  const std::vector<float> q = some_values(3 * 32, 3);
  const std::vector<float> k = some_values(3 * 8, 4);
  const std::vector<float> q_norm = some_values(32, 5);
  const std::vector<float> k_norm = some_values(8, 6);
  std::vector<float> q_wanted = q;
  std::vector<float> k_wanted = k;
  const auto reference = make_reference_kernels();
  reference->rms_norm({q_wanted.data(), 3, 32}, q_norm, 1e-6f, {q_wanted.data(), 3, 32});
  reference->rms_norm({k_wanted.data(), 3, 8}, k_norm, 1e-6f, {k_wanted.data(), 3, 8});
  for (const int size : {1, 2, 8}) {
    on_each_rank(size, [&](RankGroup& group) {
      const auto elements = [](plan::Range heads) {
        return plan::Range{heads.begin * 4, heads.end * 4};
      };
      const plan::Range q_here = elements(group.share().heads);
      const plan::Range k_here = elements(group.share().kv_heads);
      std::vector<float> q_part = columns_of(q, 32, q_here);
      std::vector<float> k_part = columns_of(k, 8, k_here);
      const auto ops = make_reference_kernels();
      ASSERT_TRUE(group.qk_norm(*ops, {q_part.data(), 3, q_here.size()},
                                columns_of(q_norm, 32, q_here), {k_part.data(), 3, k_here.size()},
                                columns_of(k_norm, 8, k_here), 1e-6f));
      const std::vector<float> q_expected = columns_of(q_wanted, 32, q_here);
      const std::vector<float> k_expected = columns_of(k_wanted, 8, k_here);
      for (size_t i = 0; i < q_part.size(); ++i)
        EXPECT_NEAR(q_part[i], q_expected[i], 2e-6f);
      for (size_t i = 0; i < k_part.size(); ++i)
        EXPECT_NEAR(k_part[i], k_expected[i], 2e-6f);
    });
  }
}

}  // namespace
}  // namespace tetrad
