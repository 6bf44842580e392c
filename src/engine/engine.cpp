#include "engine/engine.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "base/log.h"
#include "engine/request_check.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/step_batch.h"

namespace tetrad {
namespace {

int64_t blocks_for(int64_t tokens) {
  return (tokens + kKvBlockSize - 1) / kKvBlockSize;
}

/// Fills in what EngineOptions leaves to the model and the machine.
Result<EngineOptions> resolve(EngineOptions options, const ModelConfig& config) {
  if (options.max_model_len <= 0) options.max_model_len = config.max_position_embeddings;
  if (options.max_model_len > config.max_position_embeddings) {
    return fail_param("--max-model-len", "{} exceeds the model's max_position_embeddings of {}",
                      options.max_model_len, config.max_position_embeddings);
  }
  if (options.max_num_seqs < 1) {
    return fail_param("--max-num-seqs", "at least one sequence must be allowed");
  }
  // Every running sequence gets a token in every step, prompts or not.
  options.max_num_batched_tokens = std::max(options.max_num_batched_tokens, options.max_num_seqs);

  const int64_t one_sequence = blocks_for(options.max_model_len);
  if (options.num_kv_blocks <= 0) {
    const int64_t memory = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    const int64_t affordable = memory / 4 / KvCache::block_bytes(config, options.kv_cache_dtype);
    options.num_kv_blocks = std::min(options.max_num_seqs * one_sequence, affordable);
  }
  if (options.num_kv_blocks < one_sequence) {
    return fail_param("--max-model-len",
                      "the KV cache holds {} tokens, fewer than one sequence of {}; use "
                      "--max-model-len {}",
                      options.num_kv_blocks * kKvBlockSize, options.max_model_len,
                      options.num_kv_blocks * kKvBlockSize);
  }
  return options;
}

}  // namespace

/// Threads: submit(), cancel() and stats() come from anywhere and touch only what mutex_ guards;
/// everything else belongs to thread_.
class Engine::Impl {
 public:
  Impl(MiniMaxM2& model, const Tokenizer& tokenizer, EngineOptions options, KvCache cache)
      : model_(model),
        tokenizer_(tokenizer),
        options_(std::move(options)),
        cache_(std::move(cache)),
        scheduler_(options_, cache_.num_blocks()),
        stats_{.steps = 0, .running = 0, .waiting = 0, .free_kv_blocks = cache_.num_blocks()},
        thread_([this] { run(); }) {}

  ~Impl() {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    news_.notify_one();
    thread_.join();
  }

  Result<RequestId> submit(GenerationRequest request, std::shared_ptr<EventSink> sink) {
    TETRAD_TRY(check_request(request, model_.config().vocab_size, options_.max_model_len));
    SamplingParams& sampling = request.sampling;
    if (sampling.max_tokens == 0) {
      sampling.max_tokens =
          options_.max_model_len - static_cast<int64_t>(request.prompt_ids.size());
    }
    if (!sampling.seed) {
      std::random_device entropy;
      sampling.seed = (uint64_t{entropy()} << 32) | entropy();
    }
    RequestId id = 0;
    {
      const std::scoped_lock lock(mutex_);
      if (stats_.waiting + static_cast<int64_t>(submitted_.size()) >= options_.max_waiting) {
        return fail(ErrorCode::resource_exhausted,
                    "{} requests are waiting already; try again later", options_.max_waiting);
      }
      id = ++last_id_;
      submitted_.push_back(
          std::make_unique<Sequence>(id, std::move(request), std::move(sink), tokenizer_));
    }
    news_.notify_one();
    return id;
  }

  void cancel(RequestId id) {
    {
      const std::scoped_lock lock(mutex_);
      cancelled_.push_back(id);
    }
    news_.notify_one();
  }

  const EngineOptions& options() const { return options_; }

  Stats stats() const {
    const std::scoped_lock lock(mutex_);
    Stats stats = stats_;
    stats.waiting += static_cast<int64_t>(submitted_.size());
    return stats;
  }

 private:
  void run() {
    while (take_news()) {
      const std::vector<ScheduledSlice> step = scheduler_.next_step();
      publish_stats();
      if (!step.empty()) compute(step);
    }
    for (auto& sequence : scheduler_.remove_all())
      finish(*sequence, FinishReason::cancelled);
  }

  /// Moves submissions and cancellations in, sleeping while there is nothing to do. False: stop.
  bool take_news() {
    std::vector<std::unique_ptr<Sequence>> submitted;
    std::vector<RequestId> cancelled;
    bool stopping = false;
    {
      std::unique_lock lock(mutex_);
      const bool idle = scheduler_.num_running() + scheduler_.num_waiting() == 0;
      news_.wait(lock,
                 [&] { return !idle || stopping_ || !submitted_.empty() || !cancelled_.empty(); });
      submitted.swap(submitted_);
      cancelled.swap(cancelled_);
      // Counted as waiting from now on, so that nothing is uncounted in between.
      stats_.waiting += static_cast<int64_t>(submitted.size());
      stopping = stopping_;
    }
    for (auto& sequence : submitted)
      scheduler_.add(std::move(sequence));
    for (const RequestId id : cancelled) {
      if (auto sequence = scheduler_.remove(id)) finish(*sequence, FinishReason::cancelled);
    }
    return !stopping;
  }

  void publish_stats() {
    const std::scoped_lock lock(mutex_);
    stats_.running = scheduler_.num_running();
    stats_.waiting = scheduler_.num_waiting();
    stats_.free_kv_blocks = scheduler_.num_free_blocks();
  }

  void compute(const std::vector<ScheduledSlice>& step) {
    const Activations logits = model_.forward(step_batch_.build(step), cache_);
    {
      const std::scoped_lock lock(mutex_);
      ++stats_.steps;
    }
    int64_t row = 0;
    for (const ScheduledSlice& slice : step) {
      const bool choose = StepBatch::wants_logits(slice);
      slice.sequence->num_computed_tokens += slice.count;
      if (choose) append_token(*slice.sequence, logits.row_span(row++));
    }
  }

  /// Chooses the sequence's next token and tells its sink.
  void append_token(Sequence& sequence, std::span<const float> logits) {
    const Result<SampledToken> chosen =
        sampler_.sample(logits, sequence.sampling, sequence.tokens, sequence.num_prompt_tokens);
    if (!chosen) {
      log::error("request {}: {}", sequence.id, chosen.error().message);
      retire(sequence, {.finish_reason = FinishReason::error, .error = chosen.error()});
      return;
    }
    const TokenId id = chosen->id;
    sequence.tokens.push_back(id);
    GenerationEvent event{.token_ids = {id}};
    if (is_end_token(sequence, id)) {
      event.finish_reason = FinishReason::stop;
    } else {
      OutputText::Step news = sequence.output.push(id);
      event.text = std::move(news.text);
      event.stop_reason = std::move(news.stopped_by);
      if (event.stop_reason) {
        event.finish_reason = FinishReason::stop;
      } else if (sequence.num_generated() >= sequence.sampling.max_tokens) {
        event.finish_reason = FinishReason::length;
      }
    }
    if (event.finish_reason) {
      retire(sequence, std::move(event));
    } else {
      sequence.sink->on_event(std::move(event));
    }
  }

  bool is_end_token(const Sequence& sequence, TokenId id) const {
    const SamplingParams& sampling = sequence.sampling;
    const auto among = [id](const std::vector<TokenId>& ids) {
      return std::ranges::find(ids, id) != ids.end();
    };
    return among(sampling.stop_token_ids) ||
           (!sampling.ignore_eos && among(options_.eos_token_ids));
  }

  /// Takes a running sequence out, so that its blocks are free before its client hears of the end.
  void retire(Sequence& sequence, GenerationEvent last_event) {
    const std::unique_ptr<Sequence> owner = scheduler_.remove(sequence.id);
    publish_stats();
    if (!last_event.stop_reason) {
      OutputText::Step rest = owner->output.finish();
      last_event.text += rest.text;
      if (rest.stopped_by && !last_event.error) {
        last_event.stop_reason = std::move(rest.stopped_by);
        last_event.finish_reason = FinishReason::stop;
      }
    }
    owner->sink->on_event(std::move(last_event));
  }

  void finish(Sequence& sequence, FinishReason reason) {
    publish_stats();
    sequence.sink->on_event({.text = sequence.output.finish().text, .finish_reason = reason});
  }

  MiniMaxM2& model_;
  const Tokenizer& tokenizer_;
  const EngineOptions options_;
  KvCache cache_;
  Scheduler scheduler_;
  StepBatch step_batch_;
  Sampler sampler_;

  mutable std::mutex mutex_;
  std::condition_variable news_;
  std::vector<std::unique_ptr<Sequence>> submitted_;
  std::vector<RequestId> cancelled_;
  Stats stats_;
  RequestId last_id_ = 0;
  bool stopping_ = false;

  std::thread thread_;  // last: it runs on all of the above
};

Result<std::unique_ptr<Engine>> Engine::start(MiniMaxM2& model, const Tokenizer& tokenizer,
                                              EngineOptions options) {
  TETRAD_ASSIGN(EngineOptions resolved, resolve(std::move(options), model.config()));
  TETRAD_ASSIGN(KvCache cache,
                KvCache::create(model.config(), resolved.kv_cache_dtype, resolved.num_kv_blocks));
  return std::unique_ptr<Engine>(
      new Engine(std::make_unique<Impl>(model, tokenizer, std::move(resolved), std::move(cache))));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<RequestId> Engine::submit(GenerationRequest request, std::shared_ptr<EventSink> sink) {
  return impl_->submit(std::move(request), std::move(sink));
}
void Engine::cancel(RequestId id) {
  impl_->cancel(id);
}
const EngineOptions& Engine::options() const {
  return impl_->options();
}
Engine::Stats Engine::stats() const {
  return impl_->stats();
}

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::error:
      return "error";
  }
  return "unknown";
}

}  // namespace tetrad
