#include "engine/core.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "engine/logprobs.h"

namespace tetrad {
namespace {

bool contains(const std::vector<TokenId>& ids, TokenId id) {
  return std::ranges::find(ids, id) != ids.end();
}

void add_text(GenerationEvent& event, const OutputText::Step& news) {
  for (const TextSpan& tag : news.tags)
    event.tags.push_back({event.text.size() + tag.begin, event.text.size() + tag.end});
  event.text += news.text;
}

}  // namespace

EngineCore::EngineCore(const SchedulerOptions& options, const PrefixIndex::Key& prefix_key,
                       std::vector<TokenId> eos_token_ids, StepModel& model, const Clock& clock,
                       EngineObserver& observer)
    : scheduler_(options, prefix_key, &observer),
      eos_token_ids_(std::move(eos_token_ids)),
      sampler_(eos_token_ids_),
      model_(model),
      clock_(clock),
      observer_(observer) {}

void EngineCore::cancel(RequestId id) {
  if (const auto sequence = scheduler_.remove(id)) tell_cancelled(*sequence);
  tell_all();
}

void EngineCore::cancel_all() {
  while (const auto sequence = scheduler_.remove_any())
    tell_cancelled(*sequence);
  tell_all();
}

/// Who is paused hears of no more tokens.
void EngineCore::set_paused(RequestId id, bool paused) {
  tell_all();
  scheduler_.set_paused(id, paused);
}

/// Sinks take their time, in which a device may compute.
void EngineCore::tell_all() {
  std::vector<Untold> untold = std::exchange(untold_, {});
  for (Untold& each : untold)
    each.sink->on_event(std::move(each.event));
  untold.clear();
  if (untold_.empty()) untold_ = std::move(untold);  // its memory
}

void EngineCore::tell_cancelled(Sequence& sequence) {
  report_finish(sequence, FinishReason::cancelled);
  GenerationEvent last{.finish_reason = FinishReason::cancelled};
  add_text(last, sequence.output.finish());
  untold_.push_back({sequence.sink, std::move(last)});
}

void EngineCore::step() {
  const Seconds start = clock_.now();
  ScheduledStep step = scheduler_.next_step(start);
  if (step.slices.empty()) return tell_all();
  const Batch batch = batch_.build(step.slices);
  StepReport report{.num_batched_tokens = batch.num_tokens(),
                    .num_preemptions = step.num_preemptions,
                    .prefix_cache_queries = step.prefix_cache_queries,
                    .prefix_cache_hits = step.prefix_cache_hits};
  for (const ScheduledSlice& slice : step.slices) {
    const Sequence& sequence = *slice.sequence;
    report.num_prompt_tokens += std::clamp<int64_t>(
        sequence.num_prompt_tokens - sequence.num_computed_tokens, 0, slice.num_own);
    report.num_recomputed_tokens +=
        std::clamp<int64_t>(std::min(sequence.num_once_computed, sequence.num_prompt_tokens) -
                                sequence.num_computed_tokens,
                            0, slice.num_own);
    report.num_drafts += slice.draft.empty() ? 0 : 1;
    report.num_draft_tokens += static_cast<int64_t>(slice.draft.size());
  }

  const Result<StepLogits> logits = compute(batch);
  if (logits) {
    int64_t row = 0;
    for (ScheduledSlice& slice : step.slices) {
      const int64_t num_logits = slice.num_logits;
      report.num_generated_tokens += take_results(slice, logits->part(row, num_logits));
      row += num_logits;
    }
  } else {
    fail_all(step.slices, logits.error());
  }

  report.num_running = scheduler_.num_running();
  report.num_waiting = scheduler_.num_waiting();
  report.num_kv_blocks = scheduler_.blocks().num_blocks();
  report.num_free_kv_blocks = scheduler_.blocks().num_unused();
  report.duration = clock_.now() - start;
  observer_.on_step(report);
  if (!has_work()) tell_all();
}

Result<StepLogits> EngineCore::compute(const Batch& batch) {
  const Result<void> started = model_.start(batch, batch_.uses());
  tell_all();
  TETRAD_TRY(started);
  return model_.finish();
}

void EngineCore::fail_all(const std::vector<ScheduledSlice>& slices, const Error& error) {
  log::error("a step failed, and {} requests with it: {}", slices.size(), error.message);
  for (const ScheduledSlice& slice : slices)
    retire(*slice.sequence, {.finish_reason = FinishReason::error, .error = error});
}

int64_t EngineCore::take_results(ScheduledSlice& slice, const StepLogits& logits) {
  Sequence& sequence = *slice.sequence;
  if (const auto& num_top = sequence.sampling.prompt_logprobs) {
    const auto collected = collect_prompt_logprobs(sequence, slice, logits, *num_top);
    if (!collected) {
      retire(sequence, {.finish_reason = FinishReason::error, .error = collected.error()});
      return 0;
    }
  }
  if (slice.chooses()) return generate(slice, logits);
  scheduler_.computed(sequence, slice.num_own);
  return 0;
}

/// Row i, of the token at position p, tells how likely token p + 1 of the prompt was.
Result<void> EngineCore::collect_prompt_logprobs(Sequence& sequence, const ScheduledSlice& slice,
                                                 const StepLogits& logits, int64_t num_top) {
  const int64_t first = sequence.num_computed_tokens + slice.count() - logits.num_rows();
  for (int64_t row = 0; row < logits.num_rows(); ++row) {
    const int64_t next = first + row + 1;
    // After a preemption the first ones are there already.
    const auto known = static_cast<int64_t>(sequence.prompt_logprobs.size());
    if (next >= sequence.num_prompt_tokens || next != known + 1) continue;
    TETRAD_ASSIGN(const auto whole, logits.row(row));
    sequence.prompt_logprobs.push_back(
        token_logprobs(whole, sequence.tokens[static_cast<size_t>(next)], num_top));
  }
  return {};
}

/// The last row chooses a token; and with a draft, each row whose draft token is the one chosen
/// before it chooses another.
int64_t EngineCore::generate(ScheduledSlice& slice, const StepLogits& logits) {
  Sequence& sequence = *slice.sequence;
  const auto num_drafted = static_cast<int64_t>(slice.draft.size());
  const int64_t first_row = logits.num_rows() - 1 - num_drafted;
  scheduler_.computed(sequence, slice.num_own);

  GenerationEvent event;
  int64_t num_accepted = 0;
  for (int64_t i = 0; i <= num_drafted; ++i) {
    const Result<bool> more = append_token(sequence, logits, first_row + i, event);
    if (!more) {
      log::error("request {}: {}", sequence.id, more.error().message);
      event.finish_reason = FinishReason::error;
      event.error = more.error();
      break;
    }
    if (!*more || i == num_drafted || sequence.tokens.back() != slice.draft[static_cast<size_t>(i)])
      break;
    scheduler_.computed(sequence, 1);
    ++num_accepted;
  }
  if (num_drafted > 0) {
    sequence.drafts.verified(num_drafted, num_accepted);
    observer_.on_draft(num_drafted, num_accepted);
  }
  const auto num_generated = static_cast<int64_t>(event.token_ids.size());
  tell(sequence, std::move(event), clock_.now());
  return num_generated;
}

/// Chooses one token and adds its news to the event; false when it was the last.
Result<bool> EngineCore::append_token(Sequence& sequence, const StepLogits& logits, int64_t row,
                                      GenerationEvent& event) {
  const SamplingParams& sampling = sequence.sampling;
  const TokenSet* allowed = nullptr;
  if (sequence.constraint) {
    const int64_t num_tokens_left = sampling.max_tokens - sequence.num_generated();
    TETRAD_ASSIGN(allowed, sequence.constraint->allowed(num_tokens_left));
  }
  TETRAD_ASSIGN(SampledToken token, choose(sequence, logits, row, allowed));
  if (sequence.constraint) sequence.constraint->accept(token.id);
  sequence.tokens.push_back(token.id);
  event.token_ids.push_back(token.id);
  if (token.logprobs) event.logprobs.push_back(std::move(*token.logprobs));
  const bool may_stop = sequence.num_generated() >= sampling.min_tokens;
  const bool is_end = contains(sampling.stop_token_ids, token.id) ||
                      (!sampling.ignore_eos && contains(eos_token_ids_, token.id));
  if (is_end && may_stop) {
    event.finish_reason = FinishReason::stop;
    return false;
  }
  OutputText::Step news = sequence.output.push(token.id, may_stop);
  add_text(event, news);
  if (news.stopped_by) {
    event.stop_reason = std::move(news.stopped_by);
    event.finish_reason = FinishReason::stop;
  } else if (sequence.num_generated() >= sampling.max_tokens) {
    event.finish_reason = FinishReason::length;
  }
  return !event.finish_reason;
}

/// By what is known of the row, or else by all of it.
Result<SampledToken> EngineCore::choose(const Sequence& sequence, const StepLogits& logits,
                                        int64_t row, const TokenSet* allowed) {
  if (const auto summary = logits.summary(row)) {
    TETRAD_ASSIGN(std::optional<SampledToken> token,
                  sampler_.sample(*summary, sequence.sampling, sequence.tokens,
                                  sequence.num_prompt_tokens, allowed));
    if (token) return std::move(*token);
  }
  TETRAD_ASSIGN(const auto whole, logits.row(row));
  return sampler_.sample(whole, sequence.sampling, sequence.tokens, sequence.num_prompt_tokens,
                         allowed);
}

void EngineCore::tell(Sequence& sequence, GenerationEvent event, Seconds now) {
  const auto count = static_cast<int64_t>(event.token_ids.size());
  if (!sequence.first_token && count > 0) {
    sequence.first_token = now;
    observer_.on_first_token(now - sequence.arrived);
    event.num_cached_tokens = sequence.num_cached_tokens;
    event.prompt_logprobs = std::exchange(sequence.prompt_logprobs, {});
  } else if (count > 0 && sequence.last_token) {
    observer_.on_tokens(now - *sequence.last_token, count);
  }
  if (count > 0) sequence.last_token = now;
  if (event.finish_reason) {
    retire(sequence, std::move(event));
  } else {
    untold_.push_back({sequence.sink, std::move(event)});
  }
}

void EngineCore::retire(Sequence& sequence, GenerationEvent last_event) {
  const std::unique_ptr<Sequence> owner = scheduler_.remove(sequence.id);
  if (!last_event.stop_reason) {
    OutputText::Step rest = owner->output.finish();
    add_text(last_event, rest);
    if (rest.stopped_by && !last_event.error) {
      last_event.stop_reason = std::move(rest.stopped_by);
      last_event.finish_reason = FinishReason::stop;
    }
  }
  if (last_event.finish_reason) report_finish(*owner, *last_event.finish_reason, last_event.error);
  untold_.push_back({owner->sink, std::move(last_event)});
}

void EngineCore::report_finish(const Sequence& sequence, FinishReason reason,
                               const std::optional<Error>& error) {
  const Seconds admitted = sequence.admitted.value_or(sequence.arrived);
  const Seconds first_token = sequence.first_token.value_or(admitted);
  observer_.on_finish({.finish_reason = reason,
                       .num_prompt_tokens = sequence.num_prompt_tokens,
                       .num_cached_tokens = sequence.num_cached_tokens,
                       .num_generated_tokens = sequence.num_generated(),
                       .max_tokens = sequence.sampling.max_tokens,
                       .num_preemptions = sequence.num_preemptions,
                       .has_nan_logits = error && error->code == ErrorCode::corrupt_data,
                       .arrived = sequence.arrived,
                       .admitted = admitted,
                       .first_token = first_token,
                       .last_token = sequence.last_token.value_or(first_token),
                       .finished = clock_.now()});
}

}  // namespace tetrad
