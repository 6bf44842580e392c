#pragma once

// What the engine tells about its work: the source of /metrics and of the log's status line.

#include <cstdint>

#include <optional>
#include <span>

#include "base/clock.h"
#include "engine/prefix_index.h"
#include "engine/request.h"

namespace tetrad {

/// One step, told after its tokens were chosen. Requests that it finished are neither running nor
/// waiting any more, and their blocks are free.
struct StepReport {
  int64_t num_running = 0;
  int64_t num_waiting = 0;
  int64_t num_kv_blocks = 0;
  int64_t num_free_kv_blocks = 0;  // unused, and cached ones that nobody uses at the moment
  int64_t num_batched_tokens = 0;  // computed in this step
  int64_t num_prompt_tokens = 0;   // of these: prompt tokens, those computed again included
  /// Of num_prompt_tokens: those computed before and lost to a preemption.
  int64_t num_recomputed_tokens = 0;
  int64_t num_generated_tokens = 0;
  int64_t num_preemptions = 0;
  /// Prompt tokens looked up in the prefix cache by requests admitted in this step, and found.
  int64_t prefix_cache_queries = 0;
  int64_t prefix_cache_hits = 0;
  int64_t num_drafts = 0;        // sequences that had drafts verified
  int64_t num_draft_tokens = 0;  // tokens proposed for them
  Seconds duration{0};
};

/// A request from its first to its last moment. Times are of the engine's clock; a moment that
/// never came (a request cancelled while it waited) equals the one before it.
struct RequestReport {
  FinishReason finish_reason = FinishReason::stop;
  int64_t num_prompt_tokens = 0;
  int64_t num_cached_tokens = 0;
  int64_t num_generated_tokens = 0;
  int64_t max_tokens = 0;
  int64_t num_preemptions = 0;
  bool has_nan_logits = false;  // it ended because the model gave logits that are no numbers
  Seconds arrived{0};
  Seconds admitted{0};  // for the first time
  Seconds first_token{0};
  Seconds last_token{0};
  Seconds finished{0};
};

/// Blocks of one sequence, one behind the other, that the prefix cache has from now on.
struct StoredBlocks {
  std::optional<PrefixHash> parent;    // of the first; none where a sequence begins
  std::span<const PrefixHash> hashes;  // of each block
  std::span<const TokenId> tokens;     // [hashes.size(), kKvBlockSize]
};

/// Called on the engine's thread; must return at once. Overrides what it wants to hear.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void on_step(const StepReport& /*report*/) {}
  /// The first token of a request, so long after its arrival.
  virtual void on_first_token(Seconds /*since_arrival*/) {}
  /// `count` further tokens of one request, so long after the ones before.
  virtual void on_tokens(Seconds /*since_last*/, int64_t /*count*/) {}
  /// A draft of `num_draft_tokens` tokens was verified; the first `num_accepted` were right.
  virtual void on_draft(int64_t /*num_draft_tokens*/, int64_t /*num_accepted*/) {}
  /// Told during a step, before its on_step().
  virtual void on_blocks_stored(const StoredBlocks& /*blocks*/) {}
  /// The prefix cache has that block no more.
  virtual void on_block_removed(const PrefixHash& /*hash*/) {}
  virtual void on_finish(const RequestReport& /*report*/) {}
  /// A request was refused because the queue is full. The exception: called on the thread that
  /// submitted it.
  virtual void on_queue_full() {}
};

}  // namespace tetrad
