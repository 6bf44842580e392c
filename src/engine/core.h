#pragma once

// The engine without its thread: everything that happens in a step, in order. Time, randomness, the
// model and the listeners come from outside, so that a simulator runs this very code.
//
// Sinks and observers are called in the middle of a step, or of a cancel: they must not call the
// core. Engine's functions they may call: those post to its mailbox.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "engine/engine_observer.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/step_batch.h"
#include "model/step_model.h"

namespace tetrad {

class EngineCore {
 public:
  /// All references must outlive the core.
  EngineCore(const SchedulerOptions& options, const PrefixIndex::Key& prefix_key,
             std::vector<TokenId> eos_token_ids, StepModel& model, const Clock& clock,
             EngineObserver& observer);

  void add(std::unique_ptr<Sequence> sequence) { scheduler_.add(std::move(sequence)); }
  /// Unknown and finished ids are ignored.
  void cancel(RequestId id);
  void cancel_all();

  /// Computes nothing for the sequence, or goes on. Unknown and finished ids are ignored.
  void set_paused(RequestId id, bool paused);

  bool is_idle() const { return scheduler_.num_running() + scheduler_.num_waiting() == 0; }
  /// Whether a step would compute anything: not when all there are are paused.
  bool has_work() const { return scheduler_.has_work(); }
  /// Schedules, computes and chooses tokens. Nothing without work. The sinks hear of them when the
  /// next step has been started or, if there is none, now.
  void step();

  const Scheduler& scheduler() const { return scheduler_; }

 private:
  Result<StepLogits> compute(const Batch& batch);
  void fail_all(const std::vector<ScheduledSlice>& slices, const Error& error);
  // `logits`: the rows of one slice.
  Result<void> collect_prompt_logprobs(Sequence& sequence, const ScheduledSlice& slice,
                                       const StepLogits& logits, int64_t num_top);
  /// Takes over what the slice computed; returns the number of tokens it generated.
  int64_t take_results(ScheduledSlice& slice, const StepLogits& logits);
  int64_t generate(ScheduledSlice& slice, const StepLogits& logits);
  Result<bool> append_token(Sequence& sequence, const StepLogits& logits, int64_t row,
                            GenerationEvent& event);
  Result<SampledToken> choose(const Sequence& sequence, const StepLogits& logits, int64_t row,
                              const TokenSet* allowed);
  void tell(Sequence& sequence, GenerationEvent event, Seconds now);
  void tell_all();
  /// The last word to a sequence that has been taken out.
  void tell_cancelled(Sequence& sequence);
  /// Takes a sequence out, so that its blocks are free before its client hears of the end.
  void retire(Sequence& sequence, GenerationEvent last_event);
  void report_finish(const Sequence& sequence, FinishReason reason,
                     const std::optional<Error>& error = std::nullopt);

  Scheduler scheduler_;
  StepBatch batch_;
  const std::vector<TokenId> eos_token_ids_;
  Sampler sampler_;
  StepModel& model_;
  const Clock& clock_;
  EngineObserver& observer_;

  struct Untold {
    std::shared_ptr<EventSink> sink;
    GenerationEvent event;
  };
  std::vector<Untold> untold_;  // in order
};

}  // namespace tetrad
