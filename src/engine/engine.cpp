#include "engine/engine.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "engine/core.h"
#include "engine/observer_list.h"
#include "engine/request_check.h"

namespace tetrad {
namespace {

/// Fills in what EngineOptions leaves to the model.
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
  return options;
}

SchedulerOptions scheduler_options(const EngineOptions& options, int64_t num_kv_blocks) {
  return {.max_num_seqs = options.max_num_seqs,
          .max_num_batched_tokens = options.max_num_batched_tokens,
          .num_kv_blocks = num_kv_blocks,
          .enable_prefix_caching = options.enable_prefix_caching,
          .ngram = options.ngram};
}

uint64_t random_seed() {
  std::random_device entropy;
  return (uint64_t{entropy()} << 32) | entropy();
}

}  // namespace

/// Threads: submit(), cancel(), pause(), resume() and stats() come from anywhere and touch only
/// what mutex_ guards; everything else belongs to thread_.
class Engine::Impl {
 public:
  Impl(const ModelConfig& config, const Tokenizer& tokenizer, EngineOptions options,
       StartedModel model)
      : tokenizer_(tokenizer),
        vocab_size_(config.vocab_size),
        num_kv_blocks_(model.num_kv_blocks),
        options_(std::move(options)),
        observers_(observers()),
        model_(std::move(model.steps)),
        core_(scheduler_options(options_, num_kv_blocks_), PrefixIndex::random_key(),
              options_.eos_token_ids, *model_, clock_, observers_),
        stats_{.steps = 0, .running = 0, .waiting = 0, .free_kv_blocks = num_kv_blocks_},
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
    TETRAD_TRY(check_request(request, vocab_size_, options_.max_model_len));
    SamplingParams& sampling = request.sampling;
    const auto num_prompt_tokens = static_cast<int64_t>(request.prompt_ids.size());
    // The cache holds max_model_len tokens or more: DeviceModel::start() saw to it.
    if (sampling.max_tokens == 0) {
      sampling.max_tokens = options_.max_model_len - num_prompt_tokens;
    }
    if (!sampling.seed) sampling.seed = random_seed();
    const std::optional<RequestId> id = enqueue(request, sink);
    if (!id) return queue_is_full();
    news_.notify_one();
    return *id;
  }

  Result<void> check_queue() {
    {
      const std::scoped_lock lock(mutex_);
      if (num_queued() < options_.max_waiting) return {};
    }
    return queue_is_full();
  }

  void cancel(RequestId id) {
    {
      const std::scoped_lock lock(mutex_);
      cancelled_.push_back(id);
    }
    news_.notify_one();
  }

  void set_paused(RequestId id, bool paused) {
    {
      const std::scoped_lock lock(mutex_);
      pauses_.push_back({id, paused});
    }
    news_.notify_one();
  }

  const EngineOptions& options() const { return options_; }
  int64_t num_kv_blocks() const { return num_kv_blocks_; }

  Stats stats() const {
    const std::scoped_lock lock(mutex_);
    Stats stats = stats_;
    stats.waiting += static_cast<int64_t>(submitted_.size());
    return stats;
  }

 private:
  struct Pause {
    RequestId id;
    bool paused;
  };

  /// When a client hears of its first token or of its end, stats() knows of it too.
  class StatsPublisher final : public EngineObserver {
   public:
    explicit StatsPublisher(Impl& engine) : engine_(engine) {}
    void on_step(const StepReport&) override { engine_.publish_stats(/*new_steps=*/1); }
    void on_first_token(Seconds) override { engine_.publish_stats(); }
    void on_finish(const RequestReport&) override { engine_.publish_stats(); }

   private:
    Impl& engine_;
  };

  std::vector<std::shared_ptr<EngineObserver>> observers() {
    std::vector<std::shared_ptr<EngineObserver>> all{std::make_shared<StatsPublisher>(*this)};
    if (options_.observer) all.push_back(options_.observer);
    return all;
  }

  /// Takes the request, unless the queue is full.
  std::optional<RequestId> enqueue(GenerationRequest& request, std::shared_ptr<EventSink>& sink) {
    const std::scoped_lock lock(mutex_);
    if (num_queued() >= options_.max_waiting) return std::nullopt;
    const RequestId id = ++last_id_;
    submitted_.push_back(std::make_unique<Sequence>(id, std::move(request), std::move(sink),
                                                    tokenizer_, clock_.now()));
    return id;
  }

  /// With mutex_ held.
  int64_t num_queued() const { return stats_.waiting + std::ssize(submitted_); }

  tl::unexpected<Error> queue_is_full() {
    observers_.on_queue_full();
    return fail(ErrorCode::resource_exhausted, "{} requests are waiting already; try again later",
                options_.max_waiting);
  }

  void run() {
    while (take_news()) {
      publish_stats();
      if (core_.has_work()) core_.step();
    }
    core_.cancel_all();
  }

  /// Moves submissions, cancellations and pauses in, sleeping while there is nothing to do. False:
  /// stop.
  bool take_news() {
    std::vector<std::unique_ptr<Sequence>> submitted;
    std::vector<RequestId> cancelled;
    std::vector<Pause> pauses;
    bool stopping = false;
    {
      std::unique_lock lock(mutex_);
      news_.wait(lock, [&] {
        return core_.has_work() || stopping_ || !submitted_.empty() || !cancelled_.empty() ||
               !pauses_.empty();
      });
      submitted.swap(submitted_);
      cancelled.swap(cancelled_);
      pauses.swap(pauses_);
      // Counted as waiting from now on, so that nothing is uncounted in between.
      stats_.waiting += static_cast<int64_t>(submitted.size());
      stopping = stopping_;
    }
    for (auto& sequence : submitted)
      core_.add(std::move(sequence));
    for (const RequestId id : cancelled)
      core_.cancel(id);
    for (const Pause& pause : pauses)
      core_.set_paused(pause.id, pause.paused);
    return !stopping;
  }

  void publish_stats(uint64_t new_steps = 0) {
    const std::scoped_lock lock(mutex_);
    stats_.steps += new_steps;
    stats_.running = core_.scheduler().num_running();
    stats_.waiting = core_.scheduler().num_waiting();
    stats_.free_kv_blocks = core_.scheduler().blocks().num_unused();
  }

  const Tokenizer& tokenizer_;
  const int64_t vocab_size_;
  const int64_t num_kv_blocks_;
  const EngineOptions options_;
  const SteadyClock clock_;
  ObserverList observers_;
  std::unique_ptr<StepModel> model_;
  EngineCore core_;

  mutable std::mutex mutex_;
  std::condition_variable news_;
  std::vector<std::unique_ptr<Sequence>> submitted_;
  std::vector<RequestId> cancelled_;
  std::vector<Pause> pauses_;  // in the order in which they were asked for
  Stats stats_;
  RequestId last_id_ = 0;
  bool stopping_ = false;

  std::thread thread_;  // last: it runs on all of the above
};

Result<std::unique_ptr<Engine>> Engine::start(DeviceModel& model, const Tokenizer& tokenizer,
                                              EngineOptions options) {
  TETRAD_ASSIGN(EngineOptions resolved, resolve(std::move(options), model.config()));
  const StepLimits limits{.max_model_len = resolved.max_model_len,
                          .max_num_seqs = resolved.max_num_seqs,
                          .max_num_batched_tokens = resolved.max_num_batched_tokens};
  TETRAD_ASSIGN(StartedModel started, model.start(limits, resolved.kv_memory));
  resolved.kv_memory.bytes = started.num_kv_blocks * model.kv_block_bytes();
  return std::unique_ptr<Engine>(new Engine(
      std::make_unique<Impl>(model.config(), tokenizer, std::move(resolved), std::move(started))));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<RequestId> Engine::submit(GenerationRequest request, std::shared_ptr<EventSink> sink) {
  return impl_->submit(std::move(request), std::move(sink));
}
void Engine::cancel(RequestId id) {
  impl_->cancel(id);
}
void Engine::pause(RequestId id) {
  impl_->set_paused(id, true);
}
void Engine::resume(RequestId id) {
  impl_->set_paused(id, false);
}
Result<void> Engine::check_queue() {
  return impl_->check_queue();
}
const EngineOptions& Engine::options() const {
  return impl_->options();
}
int64_t Engine::num_kv_blocks() const {
  return impl_->num_kv_blocks();
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
