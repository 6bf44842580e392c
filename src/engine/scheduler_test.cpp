// The scheduler's choices, one by one. That nothing is lost or doubled in any order of events is
// the simulator's part (tests/simulator).

#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <numeric>

#include "engine/bundled_model.h"

namespace tetrad {
namespace {

constexpr Seconds kNow{1};

std::unique_ptr<Sequence> make_sequence(RequestId id, int64_t prompt, int64_t max_tokens,
                                        int64_t priority = 0, TokenId first_token = 1) {
  GenerationRequest request;
  request.prompt_ids.resize(static_cast<size_t>(prompt));
  std::iota(request.prompt_ids.begin(), request.prompt_ids.end(), first_token);
  request.sampling.max_tokens = max_tokens;
  request.priority = priority;
  return std::make_unique<Sequence>(id, std::move(request), nullptr, bundled_tokenizer(), kNow);
}

/// A scheduler, and what the engine does around it.
class Bench {
 public:
  explicit Bench(SchedulerOptions options) : scheduler_(options, {}) {}

  void add(RequestId id, int64_t prompt, int64_t max_tokens, int64_t priority = 0,
           TokenId first_token = 1) {
    scheduler_.add(make_sequence(id, prompt, max_tokens, priority, first_token));
  }

  /// (id, tokens) of each slice; every sequence whose last token was computed gets token 7.
  std::vector<std::pair<RequestId, int64_t>> step() {
    last_ = scheduler_.next_step(kNow);
    std::vector<std::pair<RequestId, int64_t>> computed;
    for (const ScheduledSlice& slice : last_.slices) {
      computed.emplace_back(slice.sequence->id, slice.count());
      const bool chooses = slice.chooses();
      scheduler_.computed(*slice.sequence, slice.num_own);
      if (chooses) slice.sequence->tokens.push_back(7);
    }
    return computed;
  }

  Scheduler& operator*() { return scheduler_; }
  Scheduler* operator->() { return &scheduler_; }
  const ScheduledStep& last() const { return last_; }

 private:
  Scheduler scheduler_;
  ScheduledStep last_;
};

using Computed = std::vector<std::pair<RequestId, int64_t>>;

TEST(Scheduler, DecodesFirstThenPromptsOldestFirst) {
  Bench bench({.max_num_seqs = 4, .max_num_batched_tokens = 10, .num_kv_blocks = 100});
  bench.add(1, 3, 5);
  EXPECT_EQ(bench.step(), (Computed{{1, 3}}));
  bench.add(2, 7, 5);
  bench.add(3, 7, 5);
  bench.add(4, 7, 5);
  EXPECT_EQ(bench.step(), (Computed{{1, 1}, {2, 7}, {3, 2}}));
  EXPECT_EQ(bench->num_running(), 3);
  EXPECT_EQ(bench.step(), (Computed{{1, 1}, {2, 1}, {3, 5}, {4, 3}}));
  EXPECT_EQ(bench.step(), (Computed{{1, 1}, {2, 1}, {3, 1}, {4, 4}}));
}

TEST(Scheduler, ComputesNothingForWhoIsPaused) {
  Bench bench({.max_num_seqs = 4, .max_num_batched_tokens = 10, .num_kv_blocks = 100});
  bench.add(1, 3, 9);
  bench.add(2, 3, 9);
  bench.step();
  const int64_t unused = bench->blocks().num_unused();
  EXPECT_TRUE(bench->set_paused(1, true));
  EXPECT_EQ(bench.step(), (Computed{{2, 1}}));
  EXPECT_EQ(bench->blocks().num_unused(), unused);  // it keeps its own
  EXPECT_TRUE(bench->set_paused(2, true));
  EXPECT_FALSE(bench->has_work());
  EXPECT_EQ(bench.step(), Computed{});
  EXPECT_TRUE(bench->set_paused(1, false));
  EXPECT_TRUE(bench->has_work());
  EXPECT_EQ(bench.step(), (Computed{{1, 1}}));
  EXPECT_TRUE(bench->set_paused(2, false));
  EXPECT_EQ(bench.step(), (Computed{{1, 1}, {2, 1}}));
  EXPECT_FALSE(bench->set_paused(3, true));
}

TEST(Scheduler, APromptInTheMiddleCanBePaused) {
  Bench bench({.max_num_seqs = 4, .max_num_batched_tokens = 4, .num_kv_blocks = 100});
  bench.add(1, 7, 9);
  bench.add(2, 3, 9, 0, 100);
  EXPECT_EQ(bench.step(), (Computed{{1, 4}}));
  bench->set_paused(1, true);
  EXPECT_EQ(bench.step(), (Computed{{2, 3}}));
  bench->set_paused(1, false);
  EXPECT_EQ(bench.step(), (Computed{{2, 1}, {1, 3}}));
}

TEST(Scheduler, WhoIsPausedGivesUpItsBlocksFirst) {
  Bench bench({.max_num_seqs = 4, .max_num_batched_tokens = 100, .num_kv_blocks = 4});
  bench.add(1, 16, 99);  // it will take two blocks
  bench.add(2, 15, 99, 0, 100);
  bench.step();
  bench->set_paused(1, true);
  for (int i = 0; i < 45; ++i)
    EXPECT_EQ(bench.step(), (Computed{{2, 1}})) << i;  // into the fourth block
  EXPECT_EQ(bench->num_waiting(), 1);
  bench->set_paused(1, false);
  EXPECT_EQ(bench.step(), (Computed{{2, 1}}));  // it waits like others
  EXPECT_NE(bench->remove(2), nullptr);
  EXPECT_EQ(bench.step(), (Computed{{1, 17}}));  // prompt and a token, computed again
}

TEST(Scheduler, ANewcomerTakesThePlaceOfWhoIsPaused) {
  Bench bench({.max_num_seqs = 1, .max_num_batched_tokens = 100, .num_kv_blocks = 100});
  bench.add(1, 3, 9);
  bench.step();
  bench.add(2, 3, 9);
  EXPECT_EQ(bench.step(), (Computed{{1, 1}}));
  bench->set_paused(1, true);
  EXPECT_EQ(bench.step(), (Computed{{2, 3}}));
  EXPECT_EQ(bench.last().num_preemptions, 1);
  bench->set_paused(1, false);
  EXPECT_EQ(bench.step(), (Computed{{2, 1}}));  // of the same priority: it waits for its place
  EXPECT_NE(bench->remove(2), nullptr);
  EXPECT_EQ(bench.step(), (Computed{{1, 5}}));  // prompt and two tokens, computed again
}

TEST(Scheduler, WhoIsPausedDoesNotBlockTheQueue) {
  Bench bench({.max_num_seqs = 1, .max_num_batched_tokens = 100, .num_kv_blocks = 100});
  bench.add(1, 3, 9);
  bench.add(2, 3, 9);
  bench->set_paused(1, true);
  EXPECT_EQ(bench.step(), (Computed{{2, 3}}));
  for (int i = 0; i < 2 * Scheduler::kMaxOvertakes; ++i) {
    EXPECT_NE(bench->remove(static_cast<RequestId>(i + 2)), nullptr);
    bench.add(static_cast<RequestId>(i + 3), 3, 9);
    EXPECT_EQ(bench.step().size(), 1u);
  }
  EXPECT_EQ(bench->waiting().front()->num_overtakes, 0);
}

TEST(Scheduler, NobodyOvertakesTheFirstInLine) {
  Bench bench({.max_num_seqs = 4,
               .max_num_batched_tokens = 100,
               .num_kv_blocks = 4,
               .enable_prefix_caching = false});
  bench.add(1, 30, 2);  // 2 blocks
  bench.add(2, 40, 8);  // 3 blocks: must wait
  bench.add(3, 2, 2);   // 1 block: would fit
  EXPECT_EQ(bench.step(), (Computed{{1, 30}}));
  EXPECT_EQ(bench->num_waiting(), 2);
  EXPECT_NE(bench->remove(1), nullptr);
  EXPECT_EQ(bench.step(), (Computed{{2, 40}}));
  EXPECT_EQ(bench->num_waiting(), 1) << "the last block is for the running one's growth";
}

TEST(Scheduler, RemovesOnlyWhatItHas) {
  Bench bench({.max_num_seqs = 1, .max_num_batched_tokens = 8, .num_kv_blocks = 4});
  EXPECT_EQ(bench->remove(1), nullptr);
  bench.add(1, 3, 3);
  bench.add(2, 3, 3);
  EXPECT_EQ(bench.step().size(), 1u);
  EXPECT_EQ(bench->remove_any()->id, 1u);
  EXPECT_EQ(bench->remove_any()->id, 2u);
  EXPECT_EQ(bench->remove_any(), nullptr);
  EXPECT_EQ(bench->remove(1), nullptr);
  EXPECT_EQ(bench->blocks().num_unused(), 4);
  EXPECT_TRUE(bench.step().empty());
}

TEST(Scheduler, TheLowestRankGivesUpItsBlocksAndComesBack) {
  Bench bench({.max_num_seqs = 4,
               .max_num_batched_tokens = 100,
               .num_kv_blocks = 4,
               .enable_prefix_caching = false});
  bench.add(1, 15, 40);
  bench.add(2, 15, 40);
  EXPECT_EQ(bench.step(), (Computed{{1, 15}, {2, 15}}));
  for (int i = 0; i < 17; ++i)  // until both have filled two blocks
    EXPECT_EQ(bench.step(), (Computed{{1, 1}, {2, 1}}));
  EXPECT_EQ(bench.step(), (Computed{{1, 1}}));
  EXPECT_EQ(bench.last().num_preemptions, 1);
  ASSERT_EQ(bench->waiting().size(), 1u);
  EXPECT_EQ(bench->waiting()[0]->num_tokens(), 33) << "what was generated is not lost";
  EXPECT_NE(bench->remove(1), nullptr);
  EXPECT_EQ(bench.step(), (Computed{{2, 33}})) << "prompt and answer are computed again";
}

TEST(Scheduler, PrioritiesTakePlacesFromLowerOnes) {
  Bench bench({.max_num_seqs = 2, .max_num_batched_tokens = 100, .num_kv_blocks = 100});
  bench.add(1, 5, 50, 1);
  bench.add(2, 5, 50, 0);
  bench.step();
  bench.add(3, 5, 50, 1);
  EXPECT_EQ(bench.step(), (Computed{{2, 1}, {1, 1}})) << "equals do not push each other out";
  bench.add(4, 5, 50, 0);
  EXPECT_EQ(bench.step(), (Computed{{2, 1}, {4, 5}}));
  EXPECT_EQ(bench->waiting()[0]->id, 1u) << "it came before 3 and still does";
}

TEST(Scheduler, WhoWasOvertakenOftenIsServedNext) {
  Bench bench({.max_num_seqs = 1, .max_num_batched_tokens = 100, .num_kv_blocks = 100});
  bench.add(1, 5, 50, 9);
  RequestId next = 2;
  int64_t overtakers = 0;
  for (; overtakers < 1000; ++overtakers) {
    bench.add(next, 5, 50, 0);
    const Computed computed = bench.step();
    if (computed[0].first == 1) break;
    EXPECT_NE(bench->remove(next++), nullptr);
  }
  EXPECT_EQ(overtakers, Scheduler::kMaxOvertakes);
  bench.step();
  EXPECT_EQ(bench->running()[0]->id, 1u) << "and nobody takes its place again";
}

TEST(Scheduler, SharesWhatIsComputedAlready) {
  Bench bench({.max_num_seqs = 4, .max_num_batched_tokens = 1000, .num_kv_blocks = 100});
  bench.add(1, 40, 50);
  EXPECT_EQ(bench.step(), (Computed{{1, 40}}));
  bench.add(2, 50, 50);        // 1 runs: two whole blocks are shared with it
  bench.add(3, 32, 50);        // all of it is there, but its last token's logits are not
  bench.add(4, 50, 50, 0, 2);  // other tokens
  EXPECT_EQ(bench.step(), (Computed{{1, 1}, {2, 18}, {3, 16}, {4, 50}}));
  EXPECT_EQ(bench.last().prefix_cache_queries, 50 + 32 + 50);
  EXPECT_EQ(bench.last().prefix_cache_hits, 32 + 16);
  EXPECT_EQ(bench->running()[0]->block_table[1], bench->running()[1]->block_table[1]);
  for (const RequestId id : {1, 2, 3, 4})
    EXPECT_NE(bench->remove(id), nullptr);
  EXPECT_EQ(bench->blocks().num_unused(), 100);
  bench.add(5, 50, 50);  // nobody runs any more
  EXPECT_EQ(bench.step(), (Computed{{5, 2}}));
}

TEST(Scheduler, SharesWhatIsComputedWhileItWaits) {
  Bench bench({.max_num_seqs = 4, .max_num_batched_tokens = 32, .num_kv_blocks = 100});
  bench.add(1, 64, 50);
  bench.add(2, 70, 50);
  EXPECT_EQ(bench.step(), (Computed{{1, 32}}));
  EXPECT_EQ(bench.step(), (Computed{{1, 32}}));
  EXPECT_EQ(bench.step(), (Computed{{1, 1}, {2, 6}}));
}

TEST(Scheduler, SaltsAreNotShared) {
  Bench bench({.max_num_seqs = 4, .max_num_batched_tokens = 1000, .num_kv_blocks = 100});
  bench.add(1, 40, 50);
  bench.step();
  GenerationRequest request{.prompt_ids = bench->running()[0]->tokens, .cache_salt = "b"};
  request.sampling.max_tokens = 5;
  bench->add(std::make_unique<Sequence>(2, request, nullptr, bundled_tokenizer(), kNow));
  EXPECT_EQ(bench.step(), (Computed{{1, 1}, {2, 41}}));
}

TEST(Scheduler, DraftsFillWhatIsLeftAndNoMoreThanTheAnswer) {
  Bench bench({.max_num_seqs = 2,
               .max_num_batched_tokens = 20,
               .num_kv_blocks = 100,
               .ngram = {.num_speculative_tokens = 8}});
  bench.add(1, 3, 12);
  bench.step();  // 1 2 3 7
  bench.step();  // 1 2 3 7 7
  bench.step();  // 1 2 3 7 7 7
  const Computed computed = bench.step();
  EXPECT_EQ(computed, (Computed{{1, 2}}));
  EXPECT_EQ(bench.last().slices[0].draft, std::vector<TokenId>{7});
  EXPECT_EQ(bench.last().slices[0].num_logits, 2);
  while (bench->running()[0]->num_generated() < 11)
    bench.step();
  EXPECT_EQ(bench.step(), (Computed{{1, 1}})) << "one token is left, and no draft is worth it";
}

}  // namespace
}  // namespace tetrad
