#include "engine/scheduler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>

#include "engine/bundled_model.h"
#include "engine/step_batch.h"
#include "kernels/batch.h"

namespace tetrad {
namespace {

std::unique_ptr<Sequence> make_sequence(RequestId id, int64_t prompt, int64_t max_tokens) {
  GenerationRequest request;
  request.prompt_ids.assign(static_cast<size_t>(prompt), 1);
  request.sampling.max_tokens = max_tokens;
  return std::make_unique<Sequence>(id, std::move(request), nullptr, bundled_tokenizer());
}

/// A scheduler with what is needed to judge it from outside: the sequences in order of arrival.
class Bench {
 public:
  Bench(int64_t max_num_seqs, int64_t budget, int64_t num_blocks)
      : max_num_seqs_(max_num_seqs),
        budget_(budget),
        num_blocks_(num_blocks),
        scheduler_({.max_num_seqs = max_num_seqs, .max_num_batched_tokens = budget}, num_blocks) {}

  void add(int64_t prompt, int64_t max_tokens) {
    auto sequence = make_sequence(++last_id_, prompt, max_tokens);
    alive_.push_back(sequence.get());
    scheduler_.add(std::move(sequence));
  }

  void remove(size_t which) {
    Sequence* gone = alive_[which];
    const auto owner = scheduler_.remove(gone->id);
    RC_ASSERT(owner.get() == gone);
    RC_ASSERT(owner->block_table.empty());
    alive_.erase(alive_.begin() + static_cast<std::ptrdiff_t>(which));
    check_blocks();
  }

  /// One step, judged, and then what the engine would do with its results.
  std::vector<ScheduledSlice> step() {
    const auto slices = scheduler_.next_step();
    check_admission();
    check_blocks();
    check_slices(slices);
    for (const ScheduledSlice& slice : slices) {
      const bool ends = StepBatch::wants_logits(slice);
      slice.sequence->num_computed_tokens += slice.count;
      if (!ends) continue;
      slice.sequence->tokens.push_back(1);
      if (slice.sequence->num_generated() == slice.sequence->sampling.max_tokens) {
        const auto which = std::find(alive_.begin(), alive_.end(), slice.sequence);
        remove(static_cast<size_t>(which - alive_.begin()));
      }
    }
    return slices;
  }

  size_t num_alive() const { return alive_.size(); }
  const Scheduler& scheduler() const { return scheduler_; }

  /// More steps than any order of computing what is left can take.
  int64_t tokens_left() const {
    int64_t left = 0;
    for (const Sequence* sequence : alive_)
      left += sequence->num_prompt_tokens + sequence->sampling.max_tokens;
    return left;
  }

 private:
  static bool running(const Sequence* sequence) { return !sequence->block_table.empty(); }

  void check_admission() const {
    const auto first_waiting = std::find_if_not(alive_.begin(), alive_.end(), running);
    RC_ASSERT(std::none_of(first_waiting, alive_.end(), running));  // nobody overtook
    RC_ASSERT(scheduler_.num_running() == first_waiting - alive_.begin());
    RC_ASSERT(scheduler_.num_waiting() == alive_.end() - first_waiting);
    RC_ASSERT(scheduler_.num_running() <= max_num_seqs_);
    if (first_waiting == alive_.end()) return;
    RC_ASSERT((scheduler_.num_running() == max_num_seqs_ ||
               worst_case_blocks(**first_waiting) > scheduler_.num_free_blocks()));
  }

  void check_blocks() const {
    std::set<int32_t> owned;
    int64_t num_owned = 0;
    for (const Sequence* sequence : alive_) {
      owned.insert(sequence->block_table.begin(), sequence->block_table.end());
      num_owned += static_cast<int64_t>(sequence->block_table.size());
      RC_ASSERT((!running(sequence) ||
                 static_cast<int64_t>(sequence->block_table.size()) * kKvBlockSize >=
                     sequence->num_prompt_tokens + sequence->sampling.max_tokens));
    }
    RC_ASSERT(static_cast<int64_t>(owned.size()) == num_owned);
    RC_ASSERT((owned.empty() || (*owned.begin() >= 0 && *owned.rbegin() < num_blocks_)));
    RC_ASSERT(scheduler_.num_free_blocks() + num_owned == num_blocks_);
  }

  void check_slices(const std::vector<ScheduledSlice>& slices) const {
    int64_t left = budget_;
    std::vector<const Sequence*> decoding;
    std::vector<const Sequence*> prompts;
    for (const ScheduledSlice& slice : slices) {
      RC_ASSERT((slice.count >= 1 && slice.count <= slice.sequence->num_uncomputed()));
      left -= slice.count;
      (slice.sequence->num_uncomputed() == 1 ? decoding : prompts).push_back(slice.sequence);
    }
    RC_ASSERT(left >= 0);
    std::vector<const Sequence*> all_decoding;
    std::vector<const Sequence*> all_prompts;
    for (const Sequence* sequence : alive_) {
      if (!running(sequence)) continue;
      (sequence->num_uncomputed() == 1 ? all_decoding : all_prompts).push_back(sequence);
    }
    RC_ASSERT(decoding == all_decoding);  // never starved by prompts
    RC_ASSERT(prompts.size() <= all_prompts.size());
    RC_ASSERT(std::equal(prompts.begin(), prompts.end(), all_prompts.begin()));  // oldest first
    if (prompts.size() < all_prompts.size()) RC_ASSERT(left == 0);
    for (const ScheduledSlice& slice : slices) {
      if (slice.count < slice.sequence->num_uncomputed()) {
        RC_ASSERT(left == 0);  // a prompt is cut only where the budget ends
        RC_ASSERT(slice.sequence == slices.back().sequence);
      }
    }
  }

  int64_t max_num_seqs_;
  int64_t budget_;
  int64_t num_blocks_;
  Scheduler scheduler_;
  std::vector<Sequence*> alive_;
  RequestId last_id_ = 0;
};

RC_GTEST_PROP(Scheduler, KeepsItsContractThroughAnySequenceOfOperations, ()) {
  const auto max_num_seqs = *rc::gen::inRange<int64_t>(1, 6);
  const auto budget = max_num_seqs + *rc::gen::inRange<int64_t>(0, 20);
  const auto num_blocks = *rc::gen::inRange<int64_t>(5, 16);  // a sequence needs at most 5
  Bench bench(max_num_seqs, budget, num_blocks);
  const auto operations = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 6));
  for (const int operation : operations) {
    if (operation <= 1) {
      bench.add(*rc::gen::inRange<int64_t>(1, 61), *rc::gen::inRange<int64_t>(1, 21));
    } else if (operation == 2 && bench.num_alive() > 0) {
      bench.remove(*rc::gen::inRange<size_t>(0, bench.num_alive()));
    } else {
      bench.step();
    }
  }
  // Nothing is forgotten: all that is left comes to its end.
  for (int64_t left = bench.tokens_left(); bench.num_alive() > 0; --left) {
    RC_ASSERT(left > 0);
    RC_ASSERT(!bench.step().empty());
  }
  RC_ASSERT(bench.scheduler().num_free_blocks() == num_blocks);
  RC_ASSERT(bench.step().empty());
}

TEST(Scheduler, DecodesFirstThenPromptsOldestFirst) {
  Scheduler scheduler({.max_num_seqs = 4, .max_num_batched_tokens = 10}, 100);
  scheduler.add(make_sequence(1, 3, 5));
  auto step = scheduler.next_step();
  ASSERT_EQ(step.size(), 1u);
  EXPECT_EQ(step[0].count, 3);
  step[0].sequence->num_computed_tokens = 3;
  step[0].sequence->tokens.push_back(1);

  scheduler.add(make_sequence(2, 7, 5));
  scheduler.add(make_sequence(3, 7, 5));
  scheduler.add(make_sequence(4, 7, 5));
  step = scheduler.next_step();
  ASSERT_EQ(step.size(), 3u);
  const std::pair<RequestId, int64_t> expected[] = {{1, 1}, {2, 7}, {3, 2}};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(step[i].sequence->id, expected[i].first);
    EXPECT_EQ(step[i].count, expected[i].second);
  }
  EXPECT_EQ(scheduler.num_running(), 4);
}

TEST(Scheduler, NobodyOvertakesTheFirstInLine) {
  Scheduler scheduler({.max_num_seqs = 4, .max_num_batched_tokens = 100}, 4);
  scheduler.add(make_sequence(1, 30, 2));  // 2 blocks
  scheduler.add(make_sequence(2, 40, 8));  // 3 blocks: must wait
  scheduler.add(make_sequence(3, 2, 2));   // 1 block: would fit
  EXPECT_EQ(scheduler.next_step().size(), 1u);
  EXPECT_EQ(scheduler.num_waiting(), 2);
  EXPECT_NE(scheduler.remove(1), nullptr);
  EXPECT_EQ(scheduler.next_step().size(), 2u);
  EXPECT_EQ(scheduler.num_free_blocks(), 0);
}

TEST(Scheduler, RemovesOnlyWhatItHas) {
  Scheduler scheduler({.max_num_seqs = 1, .max_num_batched_tokens = 8}, 4);
  EXPECT_EQ(scheduler.remove(1), nullptr);
  scheduler.add(make_sequence(1, 3, 3));
  scheduler.add(make_sequence(2, 3, 3));
  EXPECT_EQ(scheduler.next_step().size(), 1u);
  EXPECT_EQ(scheduler.remove_all().size(), 2u);
  EXPECT_EQ(scheduler.remove(1), nullptr);
  EXPECT_EQ(scheduler.num_free_blocks(), 4);
  EXPECT_TRUE(scheduler.next_step().empty());
}

}  // namespace
}  // namespace tetrad
