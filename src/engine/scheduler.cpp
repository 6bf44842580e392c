#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "kernels/batch.h"

namespace tetrad {

int64_t worst_case_blocks(const Sequence& sequence) {
  const int64_t tokens = sequence.num_prompt_tokens + sequence.sampling.max_tokens;
  return (tokens + kKvBlockSize - 1) / kKvBlockSize;
}

Scheduler::Scheduler(const EngineOptions& options, int64_t num_kv_blocks)
    : max_num_seqs_(options.max_num_seqs),
      max_num_batched_tokens_(options.max_num_batched_tokens),
      blocks_(num_kv_blocks) {}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  waiting_.push_back(std::move(sequence));
}

std::unique_ptr<Sequence> Scheduler::remove(RequestId id) {
  const auto has_id = [id](const std::unique_ptr<Sequence>& sequence) {
    return sequence->id == id;
  };
  std::unique_ptr<Sequence> found;
  if (const auto running = std::find_if(running_.begin(), running_.end(), has_id);
      running != running_.end()) {
    found = std::move(*running);
    running_.erase(running);
    blocks_.give_back(found->block_table);
  } else if (const auto waiting = std::find_if(waiting_.begin(), waiting_.end(), has_id);
             waiting != waiting_.end()) {
    found = std::move(*waiting);
    waiting_.erase(waiting);
  }
  return found;
}

std::vector<std::unique_ptr<Sequence>> Scheduler::remove_all() {
  std::vector<std::unique_ptr<Sequence>> all;
  while (!running_.empty())
    all.push_back(remove(running_.front()->id));
  while (!waiting_.empty())
    all.push_back(remove(waiting_.front()->id));
  return all;
}

void Scheduler::admit() {
  while (!waiting_.empty() && num_running() < max_num_seqs_) {
    const int64_t needed = worst_case_blocks(*waiting_.front());
    if (needed > blocks_.num_free()) return;  // nobody overtakes the first in line
    waiting_.front()->block_table = blocks_.take(needed);
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

std::vector<ScheduledSlice> Scheduler::next_step() {
  admit();
  std::vector<ScheduledSlice> step;
  int64_t budget = max_num_batched_tokens_;
  for (const auto& sequence : running_) {
    if (sequence->num_uncomputed() != 1) continue;
    step.push_back({sequence.get(), 1});
    --budget;
  }
  for (const auto& sequence : running_) {
    const int64_t count = std::min(budget, sequence->num_uncomputed());
    if (sequence->num_uncomputed() == 1 || count == 0) continue;
    step.push_back({sequence.get(), count});
    budget -= count;
  }
  return step;
}

}  // namespace tetrad
