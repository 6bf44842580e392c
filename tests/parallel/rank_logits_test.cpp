// What ranks tell each other of their parts of a row is what the row says, and the sampler chooses
// the same token by either.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "engine/sampler.h"
#include "engine/sampling_cases_for_tests.h"
#include "model/rank_logits.h"
#include "parallel/ranks_for_tests.h"

namespace tetrad {
namespace {

using parallel::Communicator;

ModelConfig config_of_vocabulary(int64_t vocab_size) {
  ModelConfig config;
  config.vocab_size = vocab_size;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 8;
  config.head_dim = 16;
  config.intermediate_size = 128;
  config.num_local_experts = 8;
  return config;
}

using Rows = std::vector<std::vector<float>>;

/// A summary whose list is its own.
struct KeptSummary {
  RowSummary row;
  std::vector<LikelyToken> likely;
};

struct Exchanged {
  std::vector<std::optional<KeptSummary>> summaries;  // nothing of rows that came whole
  Rows whole;                                         // of each row, in the end
  std::string error;
};

/// What each of `size` ranks knows when it had but its part of the rows.
std::vector<Exchanged> exchange(int size, const Rows& rows, const std::vector<LogitsUse>& uses) {
  const auto vocab = static_cast<int64_t>(rows[0].size());
  return parallel::on_all_ranks<Exchanged>(
      size, [&](const std::shared_ptr<Communicator>& ranks) -> Exchanged {
        RankGroup group =
            RankGroup::join(config_of_vocabulary(vocab), {.tensor_parallel = size}, ranks).value();
        const plan::Range here = group.share().vocabulary;
        std::vector<float> part;
        for (const auto& row : rows)
          part.insert(part.end(), row.begin() + here.begin, row.begin() + here.end);
        RankLogits logits(group, *ranks, vocab);
        Exchanged got;
        const auto done = logits.exchange({part.data(), std::ssize(rows), here.size()}, uses);
        if (!done) return {.error = done.error().message};
        for (int64_t row = 0; row < std::ssize(rows); ++row) {
          std::optional<KeptSummary>& kept = got.summaries.emplace_back();
          if (!logits.is_here(row)) {
            const RowSummary summary = logits.summary(row);
            kept.emplace(KeptSummary{summary, {summary.likely.begin(), summary.likely.end()}});
          }
        }
        for (int64_t row = 0; row < std::ssize(rows); ++row) {
          if (!logits.is_here(row)) {
            if (auto asked = logits.gather_row(row); !asked) got.error = asked.error().message;
          }
          const auto whole = logits.row(row);
          got.whole.emplace_back(whole.begin(), whole.end());
        }
        return got;
      });
}

void expect_true_of(const KeptSummary& kept, const std::vector<float>& row, const LogitsUse& use) {
  const RowSummary& told = kept.row;
  const auto best = std::ranges::max_element(row);
  EXPECT_EQ(told.vocab_size, std::ssize(row));
  ASSERT_TRUE(told.is_finite);
  EXPECT_EQ(told.largest, *best);
  EXPECT_EQ(told.best, best - row.begin());
  if (use.temperature == 0) return;
  double weights = 0;
  std::vector<uint32_t> ids;
  for (size_t id = 0; id < row.size(); ++id) {
    weights += std::exp((double{row[id]} - *best) / double{use.temperature});
    if (row[id] >= told.bound) ids.push_back(static_cast<uint32_t>(id));
  }
  EXPECT_NEAR(told.weights, weights, told.weights_error + 1e-12 * weights);
  EXPECT_LT(told.weights_error, 1e-9 * weights);
  // All of them, in the order of their ids.
  ASSERT_EQ(kept.likely.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(kept.likely[i].id, ids[i]);
    EXPECT_EQ(kept.likely[i].logit, row[ids[i]]);
  }
}

TEST(RankLogits, SayOfARowWhatItSays) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 40; ++round) {
    const int size = std::array{2, 3, 8}[random() % 3];
    // With 9 tokens and 8 ranks some have none.
    const size_t vocab = std::array{9u, 100u, 700u, 3000u}[random() % 4];
    Rows rows;
    std::vector<LogitsUse> uses;
    for (int row = 0; row < 5; ++row) {
      rows.push_back(logits_of_some_kind(random, vocab));
      const float temperature = std::array{0.0f, 0.7f, 1.0f, 100.0f}[random() % 4];
      uses.push_back(random() % 4 == 0 ? LogitsUse{}
                                       : LogitsUse{.is_whole = false, .temperature = temperature});
    }
    for (const Exchanged& got : exchange(size, rows, uses)) {
      ASSERT_EQ(got.error, "");
      EXPECT_EQ(got.whole, rows);
      const bool all_whole = std::ranges::all_of(uses, &LogitsUse::is_whole);
      for (size_t row = 0; row < rows.size(); ++row) {
        ASSERT_EQ(got.summaries[row].has_value(), !uses[row].is_whole && !all_whole);
        if (got.summaries[row]) expect_true_of(*got.summaries[row], rows[row], uses[row]);
      }
    }
  }
}

TEST(RankLogits, TellEnoughOfTheLikeliest) {
  std::mt19937_64 random(4);
  const std::vector<float> row = normal_logits(random, 20'000, 3);
  const LogitsUse use{.is_whole = false, .temperature = 1};
  for (const int size : {2, 4, 7}) {
    const auto got = exchange(size, {row}, {use});
    EXPECT_GE(got[0].summaries[0]->likely.size(), kFewestLikelyTokens) << size << " ranks";
  }
}

TEST(RankLogits, ThatAreNoNumbersAreSeen) {
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  for (const float odd : {kNone, kInfinite, -kInfinite}) {
    for (const size_t place : {0u, 499u, 999u}) {
      std::vector<float> row(1000, 1.0f);
      row[place] = odd;
      for (const float temperature : {0.0f, 1.0f}) {
        const auto got = exchange(3, {row}, {{.is_whole = false, .temperature = temperature}});
        for (const Exchanged& of_rank : got)
          EXPECT_FALSE(of_rank.summaries[0]->row.is_finite);
      }
    }
  }
}

TEST(RankLogits, ChooseAsTheRowDoes) {
  std::mt19937_64 random(5);
  Sampler by_row;
  Sampler by_summary;
  int asked = 0;
  int decided = 0;
  for (int round = 0; round < 150; ++round) {
    const size_t vocab = std::array{40u, 700u, 6000u}[random() % 3];
    Rows rows;
    std::vector<SamplingParams> params;
    std::vector<LogitsUse> uses;
    for (int row = 0; row < 6; ++row) {
      rows.push_back(logits_of_some_kind(random, vocab));
      params.push_back(params_of_some_kind(random, vocab));
      uses.push_back(Sampler::use_of(params.back(), false, 0));
    }
    const auto got = exchange(std::array{2, 5}[random() % 2], rows, uses);
    for (size_t row = 0; row < rows.size(); ++row) {
      if (!got[0].summaries[row]) continue;
      RowSummary summary = got[0].summaries[row]->row;
      summary.likely = got[0].summaries[row]->likely;
      for (int draw = 0; draw < 4; ++draw) {
        params[row].seed = random();
        const auto chosen = by_summary.sample(summary, params[row], {}, 0);
        ASSERT_TRUE(chosen) << chosen.error().message;
        ++asked;
        if (!*chosen) continue;
        ++decided;
        ASSERT_EQ((*chosen)->id, by_row.sample(rows[row], params[row], {}, 0)->id)
            << "temperature " << params[row].temperature << ", top_k " << params[row].top_k
            << ", top_p " << params[row].top_p << ", min_p " << params[row].min_p;
      }
    }
  }
  EXPECT_GT(asked, 1000);
  EXPECT_GT(decided, asked * 2 / 3);
}

}  // namespace
}  // namespace tetrad
