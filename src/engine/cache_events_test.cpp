// What the scheduler tells of the prefix cache: exactly what the index has.

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>

#include "engine/bundled_model.h"
#include "engine/scheduler.h"

namespace tetrad {
namespace {

struct ByBits {
  bool operator()(const PrefixHash& a, const PrefixHash& b) const {
    return std::pair(a.high, a.low) < std::pair(b.high, b.low);
  }
};

/// Keeps a cache's content by what it is told, and the sequences' tokens up to each block.
class Mirror final : public EngineObserver {
 public:
  void on_blocks_stored(const StoredBlocks& blocks) override {
    ASSERT_EQ(blocks.tokens.size(), blocks.hashes.size() * kKvBlockSize);
    ++num_events;
    std::vector<TokenId> past;
    // The parent may be gone again, but was there once.
    if (blocks.parent) past = runs.at(*blocks.parent);
    for (size_t i = 0; i < blocks.hashes.size(); ++i) {
      const auto block = blocks.tokens.subspan(i * kKvBlockSize, kKvBlockSize);
      past.insert(past.end(), block.begin(), block.end());
      EXPECT_TRUE(stored.emplace(blocks.hashes[i], past.size()).second) << "stored twice";
      runs[blocks.hashes[i]] = past;
    }
  }
  void on_block_removed(const PrefixHash& hash) override {
    EXPECT_EQ(stored.erase(hash), 1) << "removed what was not there";
  }

  std::map<PrefixHash, size_t, ByBits> stored;
  std::map<PrefixHash, std::vector<TokenId>, ByBits> runs;  // ever
  int num_events = 0;
};

std::unique_ptr<Sequence> sequence_of(RequestId id, std::vector<TokenId> prompt,
                                      int64_t max_tokens) {
  GenerationRequest request;
  request.prompt_ids = std::move(prompt);
  request.sampling.max_tokens = max_tokens;
  return std::make_unique<Sequence>(id, std::move(request), nullptr, bundled_tokenizer(),
                                    Seconds{1});
}

std::vector<TokenId> count_from(TokenId first, int64_t count) {
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

void run_step(Scheduler& scheduler) {
  ScheduledStep step = scheduler.next_step(Seconds{1});
  std::vector<RequestId> finished;
  for (const ScheduledSlice& slice : step.slices) {
    Sequence& sequence = *slice.sequence;
    const bool chooses = slice.chooses();
    scheduler.computed(sequence, slice.num_own);
    if (chooses) sequence.tokens.push_back(static_cast<TokenId>(7 + sequence.id % 3));
    if (sequence.num_generated() >= sequence.sampling.max_tokens) finished.push_back(sequence.id);
  }
  for (const RequestId id : finished)
    scheduler.remove(id);
}

TEST(CacheEvents, OnePromptIsOneRunOfBlocks) {
  Mirror mirror;
  Scheduler scheduler({.max_num_seqs = 2, .max_num_batched_tokens = 64, .num_kv_blocks = 8}, {},
                      &mirror);
  scheduler.add(sequence_of(1, count_from(100, 50), 4));
  run_step(scheduler);
  EXPECT_EQ(mirror.num_events, 1);
  ASSERT_EQ(mirror.stored.size(), 3);
  for (const auto& [hash, length] : mirror.stored)
    EXPECT_EQ(mirror.runs.at(hash), count_from(100, static_cast<int64_t>(length)));
  // Another that goes on behind two of these blocks: its third has the second as its parent.
  std::vector<TokenId> other = count_from(100, 32);
  other.insert(other.end(), 20, 5);
  scheduler.add(sequence_of(2, other, 4));
  run_step(scheduler);
  EXPECT_EQ(mirror.num_events, 2);
  EXPECT_EQ(mirror.stored.size(), 4);
  other.resize(48);
  EXPECT_EQ(
      std::ranges::count_if(mirror.runs, [&other](const auto& run) { return run.second == other; }),
      1);
}

TEST(CacheEvents, TheyAreWhatTheIndexHasAtAnyTime) {
  Mirror mirror;
  Scheduler scheduler({.max_num_seqs = 4, .max_num_batched_tokens = 40, .num_kv_blocks = 12}, {},
                      &mirror);
  std::mt19937 random(3);
  RequestId next_id = 1;
  for (int i = 0; i < 3000; ++i) {
    if (random() % 3 == 0 && scheduler.num_waiting() < 4) {
      std::vector<TokenId> prompt = count_from(static_cast<TokenId>(random() % 3 * 1000),
                                               1 + static_cast<int64_t>(random() % 90));
      if (random() % 2 == 0) prompt[prompt.size() / 2] = 1;
      scheduler.add(sequence_of(next_id++, std::move(prompt), 1 + random() % 60));
    }
    run_step(scheduler);
    ASSERT_EQ(static_cast<int64_t>(mirror.stored.size()), scheduler.prefixes().size());
  }
  EXPECT_GT(mirror.runs.size(), mirror.stored.size());  // some were removed
}

TEST(CacheEvents, WithoutACacheThereAreNone) {
  Mirror mirror;
  Scheduler scheduler({.num_kv_blocks = 8, .enable_prefix_caching = false}, {}, &mirror);
  scheduler.add(sequence_of(1, count_from(100, 50), 4));
  run_step(scheduler);
  EXPECT_EQ(mirror.num_events, 0);
}

}  // namespace
}  // namespace tetrad
