#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/block_pool.h"
#include "engine/engine_observer.h"
#include "engine/ngram_drafts.h"
#include "engine/prefix_index.h"
#include "engine/sequence.h"

namespace tetrad {

struct SchedulerOptions {
  int64_t max_num_seqs = 48;
  int64_t max_num_batched_tokens = 2048;  // at least max_num_seqs
  int64_t num_kv_blocks = 0;
  bool enable_prefix_caching = true;
  NgramOptions ngram;
};

/// What one step computes of one sequence: its next uncomputed tokens, then a draft of what may
/// follow them.
struct ScheduledSlice {
  Sequence* sequence = nullptr;
  int64_t num_own = 0;         // tokens of the sequence
  std::vector<TokenId> draft;  // only behind the sequence's last token
  int64_t num_logits = 0;      // of how many of the slice's last rows logits are needed

  int64_t count() const { return num_own + static_cast<int64_t>(draft.size()); }
  /// Whether it reaches the sequence's last token, whose logits choose the next one.
  bool chooses() const { return num_own == sequence->num_uncomputed(); }
};

struct ScheduledStep {
  std::vector<ScheduledSlice> slices;
  int64_t num_preemptions = 0;
  /// Prompt tokens of sequences admitted for the first time, and those of them found in the cache.
  int64_t prefix_cache_queries = 0;
  int64_t prefix_cache_hits = 0;
};

/// Decides who computes next, and who holds which blocks.
///
/// Sequences are ranked: by priority, then by arrival; but who was overtaken kMaxOvertakes times
/// ranks before all others, so that nobody waits for ever. Every decoding sequence gets its token
/// in every step; what is left of the step's tokens goes to prompts in order of rank. When blocks
/// run out the lowest rank gives up its own and computes again later; so the highest always comes
/// to its end. A paused sequence ranks behind all that are not: it keeps its place and its blocks
/// until somebody needs them, and is not computed. The engine's thread alone uses this.
class Scheduler {
 public:
  /// The observer hears of the prefix cache's blocks, and must outlive the scheduler.
  Scheduler(const SchedulerOptions& options, const PrefixIndex::Key& prefix_key,
            EngineObserver* observer = nullptr);

  /// The caller has checked that prompt and longest answer fit into num_kv_blocks.
  void add(std::unique_ptr<Sequence> sequence);
  /// Takes a sequence out, waiting or running, and frees its blocks; null for an unknown id.
  std::unique_ptr<Sequence> remove(RequestId id);
  /// Takes the first of all out; null if there is none.
  std::unique_ptr<Sequence> remove_any();

  /// Pauses a sequence or lets it go on. False for an unknown id.
  bool set_paused(RequestId id, bool paused);

  /// Whether there is anything to compute.
  bool has_work() const;
  /// Fills one step. Empty only when there is no work.
  ScheduledStep next_step(Seconds now);
  /// The next `count` tokens of a running sequence are in the cache; from now on others may find
  /// them.
  void computed(Sequence& sequence, int64_t count);

  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  const BlockPool& blocks() const { return blocks_; }
  const PrefixIndex& prefixes() const { return prefixes_; }
  /// Both in order of rank.
  const std::vector<std::unique_ptr<Sequence>>& running() const { return running_; }
  const std::vector<std::unique_ptr<Sequence>>& waiting() const { return waiting_; }

  /// Later arrivals that may be admitted before a sequence.
  static constexpr int64_t kMaxOvertakes = 64;
  /// Logits of prompt tokens are wanted for so many in one step: a vocabulary is large.
  static constexpr int64_t kMaxPromptLogits = 64;

 private:
  void make_way(ScheduledStep& step);
  void schedule_decodes(ScheduledStep& step, int64_t& budget);
  void schedule_prompts(ScheduledStep& step, int64_t& budget);
  void admit(ScheduledStep& step, int64_t& budget, Seconds now);
  bool take_blocks_to_start(Sequence& sequence);
  void count_overtaken(const Sequence& admitted);
  ScheduledSlice prompt_slice(Sequence& sequence, int64_t& budget);
  std::vector<TokenId> draft_for(Sequence& sequence, int64_t limit);

  void preempt_last(ScheduledStep& step);
  /// Takes blocks until the table has room for `num_tokens`; false if there are too few, and those
  /// taken stay.
  bool reserve(Sequence& sequence, int64_t num_tokens);
  void release_blocks(Sequence& sequence);
  int64_t use_cached_prefix(Sequence& sequence);
  void tell_stored(const Sequence& sequence, int64_t begin, int64_t end) const;
  const PrefixHash& prefix_hash(Sequence& sequence, int64_t num_blocks);

  SchedulerOptions options_;
  BlockPool blocks_;
  PrefixIndex prefixes_;
  EngineObserver* observer_;  // may be null
  std::vector<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;
};

}  // namespace tetrad
