#pragma once

// The engine's metrics under vLLM's names, labels and buckets, so that dashboards, autoscalers and
// routers made for vLLM work. docs/metrics.md says what each means here and which there are not.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "engine/engine_observer.h"

namespace tetrad {

struct EngineMetricsOptions {
  std::string model_name;              // the label of that name
  int64_t max_model_len = 0;           // the token counts' bounds end here
  int64_t num_speculative_tokens = 0;  // longest draft; 0: no metrics of drafts
  bool older_names = false;            // also names that vLLM has given up
};

/// What is known of an engine once it has started, and never changes.
struct EngineFacts {
  int64_t max_model_len = 0;
  int64_t block_size = 0;  // tokens
  int64_t num_kv_blocks = 0;
  int64_t kv_cache_bytes = 0;
  std::string kv_cache_dtype;  // in vLLM's spelling: "bfloat16", "fp8_e4m3"
  bool enable_prefix_caching = false;
};

class EngineMetrics final : public EngineObserver {
 public:
  /// The registry must outlive this.
  EngineMetrics(metrics::Registry& registry, const EngineMetricsOptions& options);
  ~EngineMetrics() override;
  EngineMetrics(const EngineMetrics&) = delete;
  EngineMetrics& operator=(const EngineMetrics&) = delete;

  /// Of all of them: the model's name and the engine's number.
  const metrics::Labels& labels() const { return labels_; }

  void describe(const EngineFacts& facts);
  /// The gauges of the moment. Each step sets them; what comes and goes between steps (a request
  /// that waits, or is cancelled as the last one) needs a call before the text is written.
  void set_load(int64_t num_running, int64_t num_waiting, int64_t num_kv_blocks,
                int64_t num_free_kv_blocks);

  void on_step(const StepReport& report) override;
  void on_first_token(Seconds since_arrival) override;
  void on_tokens(Seconds since_last, int64_t count) override;
  void on_draft(int64_t num_draft_tokens, int64_t num_accepted) override;
  void on_finish(const RequestReport& report) override;
  void on_queue_full() override;

 private:
  struct Load;
  struct Steps;
  struct Requests;
  struct Drafts;
  struct OlderNames;

  void observe_finished(const RequestReport& report);

  metrics::Registry& registry_;
  const metrics::Labels labels_;  // model_name, engine
  std::unique_ptr<Load> load_;
  std::unique_ptr<Steps> steps_;
  std::unique_ptr<Requests> requests_;
  std::unique_ptr<Drafts> drafts_;           // null without speculation
  std::unique_ptr<OlderNames> older_names_;  // null unless asked for
};

/// 1, 2, 5, 10, 20, … up to `max`.
std::vector<double> one_two_five_bounds(int64_t max);

}  // namespace tetrad
