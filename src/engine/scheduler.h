#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "engine/block_pool.h"
#include "engine/engine.h"
#include "engine/sequence.h"

namespace tetrad {

/// What one step computes: `count` next tokens of `sequence`.
struct ScheduledSlice {
  Sequence* sequence;
  int64_t count;
};

/// Decides who computes next. First come, first served; every decoding sequence gets its token in
/// every step, and what is left of max_num_batched_tokens goes to prompts, the oldest first.
/// The engine's thread alone uses it.
class Scheduler {
 public:
  Scheduler(const EngineOptions& options, int64_t num_kv_blocks);

  void add(std::unique_ptr<Sequence> sequence);
  /// Takes a sequence out, waiting or running, and frees its blocks; null for an unknown id.
  std::unique_ptr<Sequence> remove(RequestId id);
  /// Takes all out.
  std::vector<std::unique_ptr<Sequence>> remove_all();

  /// Admits waiting sequences while places and blocks last, then fills one step. Empty when there
  /// is nothing to do.
  std::vector<ScheduledSlice> next_step();

  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_free_blocks() const { return blocks_.num_free(); }

 private:
  void admit();

  int64_t max_num_seqs_;
  int64_t max_num_batched_tokens_;
  BlockPool blocks_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of admission
};

/// Blocks a sequence may come to need: prompt and longest answer.
int64_t worst_case_blocks(const Sequence& sequence);

}  // namespace tetrad
