#include "engine/scheduler.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include "kernels/batch.h"

namespace tetrad {
namespace {

using Sequences = std::vector<std::unique_ptr<Sequence>>;

bool is_overdue(const Sequence& sequence) {
  return sequence.num_overtakes >= Scheduler::kMaxOvertakes;
}

/// Whether `a` ranks before `b`.
bool precedes(const std::unique_ptr<Sequence>& a, const std::unique_ptr<Sequence>& b) {
  if (a->paused != b->paused) return b->paused;
  if (is_overdue(*a) != is_overdue(*b)) return is_overdue(*a);
  if (!is_overdue(*a) && a->priority != b->priority) return a->priority < b->priority;
  return a->id < b->id;
}

void insert_by_rank(Sequences& sequences, std::unique_ptr<Sequence> sequence) {
  const auto place = std::ranges::upper_bound(sequences, sequence, precedes);
  sequences.insert(place, std::move(sequence));
}

std::unique_ptr<Sequence> take_out(Sequences& sequences, Sequences::iterator place) {
  std::unique_ptr<Sequence> taken = std::move(*place);
  sequences.erase(place);
  return taken;
}

PrefixIndex::BlockTokens block_tokens(const Sequence& sequence, int64_t block) {
  return PrefixIndex::BlockTokens(sequence.tokens.data() + block * kKvBlockSize,
                                  static_cast<size_t>(kKvBlockSize));
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, const PrefixIndex::Key& prefix_key,
                     EngineObserver* observer)
    : options_(options),
      blocks_(options.num_kv_blocks),
      prefixes_(options.num_kv_blocks, prefix_key),
      observer_(observer) {}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  sequence->prefix_hashes = {prefixes_.root(sequence->cache_salt)};
  insert_by_rank(waiting_, std::move(sequence));
}

std::unique_ptr<Sequence> Scheduler::remove(RequestId id) {
  const auto has_id = [id](const auto& sequence) { return sequence->id == id; };
  for (Sequences* sequences : {&running_, &waiting_}) {
    const auto place = std::ranges::find_if(*sequences, has_id);
    if (place == sequences->end()) continue;
    release_blocks(**place);
    return take_out(*sequences, place);
  }
  return nullptr;
}

bool Scheduler::set_paused(RequestId id, bool paused) {
  const auto has_id = [id](const auto& sequence) { return sequence->id == id; };
  for (Sequences* sequences : {&running_, &waiting_}) {
    const auto place = std::ranges::find_if(*sequences, has_id);
    if (place == sequences->end()) continue;
    std::unique_ptr<Sequence> sequence = take_out(*sequences, place);
    sequence->paused = paused;
    insert_by_rank(*sequences, std::move(sequence));
    return true;
  }
  return false;
}

bool Scheduler::has_work() const {
  // Who is paused ranks last.
  return (!running_.empty() && !running_.front()->paused) ||
         (!waiting_.empty() && !waiting_.front()->paused);
}

std::unique_ptr<Sequence> Scheduler::remove_any() {
  if (!running_.empty()) return remove(running_.front()->id);
  if (!waiting_.empty()) return remove(waiting_.front()->id);
  return nullptr;
}

ScheduledStep Scheduler::next_step(Seconds now) {
  ScheduledStep step;
  int64_t budget = options_.max_num_batched_tokens;
  make_way(step);
  schedule_decodes(step, budget);
  schedule_prompts(step, budget);
  admit(step, budget, now);
  return step;
}

/// A waiting sequence takes place and blocks from running ones that are paused or of lower
/// priority; before anything is scheduled, because what is scheduled keeps its blocks.
void Scheduler::make_way(ScheduledStep& step) {
  if (waiting_.empty() || waiting_.front()->paused) return;
  Sequence& first = *waiting_.front();
  const auto yields = [&] {
    if (running_.empty()) return false;
    const Sequence& last = *running_.back();
    return last.paused || (!is_overdue(last) && first.priority < last.priority);
  };
  while (yields()) {
    if (num_running() < options_.max_num_seqs && take_blocks_to_start(first)) {
      release_blocks(first);  // there is room: admit() takes it when its turn comes
      return;
    }
    preempt_last(step);
  }
}

void Scheduler::schedule_decodes(ScheduledStep& step, int64_t& budget) {
  // Preemption takes from the end and nobody before the present one, so indices stay good.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.paused) break;
    if (sequence.num_uncomputed() != 1) continue;
    bool reserved = reserve(sequence, sequence.num_tokens());
    while (!reserved && running_.back().get() != &sequence) {
      preempt_last(step);
      reserved = reserve(sequence, sequence.num_tokens());
    }
    if (!reserved) {
      preempt_last(step);
      return;
    }
    step.slices.push_back({.sequence = &sequence, .num_own = 1, .num_logits = 1});
    --budget;
  }
  // Drafts come out of what is left; half of it at most, so that prompts always get on.
  int64_t draft_budget = budget / 2;
  for (ScheduledSlice& slice : step.slices) {
    slice.draft = draft_for(*slice.sequence, draft_budget);
    const auto count = static_cast<int64_t>(slice.draft.size());
    slice.num_logits += count;
    draft_budget -= count;
    budget -= count;
  }
}

std::vector<TokenId> Scheduler::draft_for(Sequence& sequence, int64_t limit) {
  if (options_.ngram.num_speculative_tokens == 0) return {};
  if (!sequence.drafts.wants_drafts()) {
    sequence.drafts.skipped();
    return {};
  }
  // The step chooses one token besides the accepted ones.
  limit = std::min(limit, sequence.sampling.max_tokens - sequence.num_generated() - 1);
  std::vector<TokenId> draft = propose_ngram(sequence.tokens, options_.ngram, limit);
  // A draft is worth spare blocks, but nobody's own.
  while (!draft.empty() &&
         !reserve(sequence, sequence.num_tokens() + static_cast<int64_t>(draft.size()))) {
    draft.pop_back();
  }
  return draft;
}

void Scheduler::schedule_prompts(ScheduledStep& step, int64_t& budget) {
  for (const auto& sequence : running_) {
    if (budget == 0 || sequence->paused) return;
    if (sequence->num_uncomputed() == 1) continue;
    // What others have computed in the meantime need not be computed again.
    const int64_t hits = use_cached_prefix(*sequence);
    if (sequence->num_preemptions == 0) {
      sequence->num_cached_tokens += hits;
      step.prefix_cache_hits += hits;
    }
    step.slices.push_back(prompt_slice(*sequence, budget));
  }
}

ScheduledSlice Scheduler::prompt_slice(Sequence& sequence, int64_t& budget) {
  ScheduledSlice slice{.sequence = &sequence};
  slice.num_own = std::min(budget, sequence.num_uncomputed());
  if (sequence.sampling.prompt_logprobs) {
    slice.num_own = std::min(slice.num_own, kMaxPromptLogits);
    slice.num_logits = slice.num_own;
  } else {
    slice.num_logits = slice.chooses() ? 1 : 0;
  }
  budget -= slice.num_own;
  return slice;
}

void Scheduler::admit(ScheduledStep& step, int64_t& budget, Seconds now) {
  while (budget > 0 && !waiting_.empty() && num_running() < options_.max_num_seqs) {
    Sequence& sequence = *waiting_.front();
    if (sequence.paused) return;                  // and so are all behind it
    if (!take_blocks_to_start(sequence)) return;  // nobody overtakes the first
    if (sequence.num_preemptions == 0) {
      sequence.admitted = now;
      sequence.num_cached_tokens = sequence.num_computed_tokens;
      step.prefix_cache_queries += sequence.num_prompt_tokens;
      step.prefix_cache_hits += sequence.num_computed_tokens;
    }
    std::unique_ptr<Sequence> owner = take_out(waiting_, waiting_.begin());
    count_overtaken(sequence);
    insert_by_rank(running_, std::move(owner));
    step.slices.push_back(prompt_slice(sequence, budget));
  }
}

/// Blocks for all tokens there are, those of a cached prefix shared; or none at all. One block for
/// each running sequence is left, or the newcomer would be thrown out again at once.
bool Scheduler::take_blocks_to_start(Sequence& sequence) {
  use_cached_prefix(sequence);
  const auto num_cached = static_cast<int64_t>(sequence.block_table.size());
  const int64_t needed = kv_blocks_for(sequence.num_tokens()) - num_cached;
  if (needed + num_running() <= blocks_.num_unused() && reserve(sequence, sequence.num_tokens())) {
    return true;
  }
  release_blocks(sequence);
  return false;
}

/// Who waits longer than somebody admitted has been overtaken, unless it waits for its client.
void Scheduler::count_overtaken(const Sequence& admitted) {
  bool somebody_is_overdue = false;
  for (const auto& sequence : waiting_) {
    if (sequence->paused || sequence->id > admitted.id || is_overdue(*sequence)) continue;
    ++sequence->num_overtakes;
    somebody_is_overdue = somebody_is_overdue || is_overdue(*sequence);
  }
  if (somebody_is_overdue) std::ranges::sort(waiting_, precedes);
}

void Scheduler::preempt_last(ScheduledStep& step) {
  std::unique_ptr<Sequence> sequence = take_out(running_, running_.end() - 1);
  release_blocks(*sequence);
  ++sequence->num_preemptions;
  ++step.num_preemptions;
  insert_by_rank(waiting_, std::move(sequence));
}

bool Scheduler::reserve(Sequence& sequence, int64_t num_tokens) {
  while (static_cast<int64_t>(sequence.block_table.size()) < kv_blocks_for(num_tokens)) {
    if (blocks_.num_unused() == 0) return false;
    const int32_t block = blocks_.take();
    const std::optional<PrefixHash> forgotten = prefixes_.forget(block);
    if (forgotten && observer_ != nullptr) observer_->on_block_removed(*forgotten);
    sequence.block_table.push_back(block);
  }
  return true;
}

void Scheduler::release_blocks(Sequence& sequence) {
  // The last first: a prefix is of use without what follows it, but not the other way round.
  for (const int32_t block : std::views::reverse(sequence.block_table))
    blocks_.release(block, prefixes_.contains(block));
  sequence.block_table.clear();
  sequence.num_computed_tokens = 0;
  sequence.num_indexed_blocks = 0;
}

/// Puts cached blocks in the place of uncomputed ones, as far as they go; returns their tokens.
/// At least one token stays to be computed: its logits are needed.
int64_t Scheduler::use_cached_prefix(Sequence& sequence) {
  if (!options_.enable_prefix_caching || sequence.sampling.prompt_logprobs) return 0;
  int64_t found = 0;
  while (sequence.num_computed_tokens % kKvBlockSize == 0 &&
         sequence.num_uncomputed() > kKvBlockSize) {
    const int64_t index = sequence.num_computed_tokens / kKvBlockSize;
    const std::optional<int32_t> block =
        prefixes_.find(prefix_hash(sequence, index + 1), block_tokens(sequence, index));
    if (!block) break;
    blocks_.share(*block);
    if (index < static_cast<int64_t>(sequence.block_table.size())) {
      blocks_.release(std::exchange(sequence.block_table[static_cast<size_t>(index)], *block),
                      false);
    } else {
      sequence.block_table.push_back(*block);
    }
    sequence.num_computed_tokens += kKvBlockSize;
    sequence.num_indexed_blocks = index + 1;
    found += kKvBlockSize;
  }
  return found;
}

void Scheduler::computed(Sequence& sequence, int64_t count) {
  sequence.num_computed_tokens += count;
  sequence.num_once_computed = std::max(sequence.num_once_computed, sequence.num_computed_tokens);
  if (!options_.enable_prefix_caching) return;
  const int64_t num_full = sequence.num_computed_tokens / kKvBlockSize;
  int64_t first_new = sequence.num_indexed_blocks;
  for (int64_t i = sequence.num_indexed_blocks; i < num_full; ++i) {
    const bool is_new = prefixes_.insert(prefix_hash(sequence, i + 1), block_tokens(sequence, i),
                                         sequence.block_table[static_cast<size_t>(i)]);
    if (is_new) continue;
    tell_stored(sequence, first_new, i);
    first_new = i + 1;
  }
  tell_stored(sequence, first_new, num_full);
  sequence.num_indexed_blocks = num_full;
}

/// Of blocks begin to end - 1 of a sequence whose hashes are known.
void Scheduler::tell_stored(const Sequence& sequence, int64_t begin, int64_t end) const {
  if (observer_ == nullptr || begin >= end) return;
  const auto first = static_cast<size_t>(begin);
  const auto count = static_cast<size_t>(end - begin);
  const std::span hashes(sequence.prefix_hashes);  // the first is that of no block
  StoredBlocks blocks{
      .hashes = hashes.subspan(first + 1, count),
      .tokens = std::span(sequence.tokens).subspan(first * kKvBlockSize, count * kKvBlockSize)};
  if (begin > 0) blocks.parent = hashes[first];
  observer_->on_blocks_stored(blocks);
}

const PrefixHash& Scheduler::prefix_hash(Sequence& sequence, int64_t num_blocks) {
  std::vector<PrefixHash>& hashes = sequence.prefix_hashes;
  while (static_cast<int64_t>(hashes.size()) <= num_blocks) {
    const auto block = static_cast<int64_t>(hashes.size()) - 1;
    hashes.push_back(prefixes_.extend(hashes.back(), block_tokens(sequence, block)));
  }
  return hashes[static_cast<size_t>(num_blocks)];
}

}  // namespace tetrad
