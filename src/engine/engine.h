#pragma once

// Owns the running requests and the thread that computes them (see CONTRACT.md).

#include <cstdint>
#include <memory>
#include <vector>

#include "base/error.h"
#include "engine/engine_observer.h"
#include "engine/ngram_drafts.h"
#include "engine/request.h"
#include "model/device_model.h"
#include "text/tokenizer.h"

namespace tetrad {

struct EngineOptions {
  int64_t max_model_len = 0;  // tokens of prompt and answer; 0: the model's max_position_embeddings
  int64_t max_num_seqs = 48;  // sequences computed together
  int64_t max_num_batched_tokens = 2048;  // tokens of one step; raised to max_num_seqs
  int64_t max_waiting = 256;              // queued requests; more are refused
  /// For keys and values. As it took effect: the bytes.
  KvMemory kv_memory;
  bool enable_prefix_caching = true;
  NgramOptions ngram;
  std::vector<TokenId> eos_token_ids;
  /// Told of every step and request; may be null.
  std::shared_ptr<EngineObserver> observer;
};

class Engine {
 public:
  /// Starts the engine's thread. The model and tokenizer must outlive the engine.
  static Result<std::unique_ptr<Engine>> start(DeviceModel& model, const Tokenizer& tokenizer,
                                               EngineOptions options);
  /// Cancels what runs, each request with its last event, and joins the thread.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Checks the request against the model and queues it. Errors: an empty prompt, ids outside the
  /// vocabulary, sampling values out of range, a prompt (with max_tokens, if given) longer than
  /// max_model_len or than the whole KV cache, a full queue. Thread-safe.
  Result<RequestId> submit(GenerationRequest request, std::shared_ptr<EventSink> sink);

  /// Ends a request within one step; its sink gets a last event with FinishReason::cancelled.
  /// Unknown and finished ids are ignored. Thread-safe.
  void cancel(RequestId id);

  /// Stops computing for a request, from the next step on, until resume(): its client does not take
  /// what there is. It keeps what it holds unless others need it; then it is computed again.
  /// Unknown and finished ids are ignored. Thread-safe.
  void pause(RequestId id);
  void resume(RequestId id);

  /// The error that submit() would return if the queue is full, before anybody has gone to the
  /// trouble of a request. Thread-safe and cheap.
  Result<void> check_queue();

  /// As they took effect.
  const EngineOptions& options() const;
  int64_t num_kv_blocks() const;
  /// Steps computed and requests held, for tests and /metrics.
  struct Stats {
    uint64_t steps = 0;
    int64_t running = 0;
    int64_t waiting = 0;
    int64_t free_kv_blocks = 0;
  };
  Stats stats() const;

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tetrad
