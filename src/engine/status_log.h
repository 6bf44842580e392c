#pragma once

// A line in the log every few seconds while there is work:
// running 3, waiting 0, generation 123.4 tok/s, prefill 2048.0 tok/s, KV cache 12.3 % used, …

#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "engine/engine_observer.h"

namespace tetrad {

class StatusLog final : public EngineObserver {
 public:
  static constexpr Seconds kInterval{10};

  /// `write` gets each line, on the engine's thread. The clock must outlive this.
  StatusLog(const Clock& clock, std::function<void(const std::string&)> write);

  void on_step(const StepReport& report) override;
  void on_draft(int64_t num_draft_tokens, int64_t num_accepted) override;

 private:
  /// What happened since the last line.
  struct Window {
    Seconds began{0};
    Seconds busy{0};  // in steps: rates leave out the time without work
    int64_t num_steps = 0;
    int64_t num_prompt_tokens = 0;
    int64_t num_generated_tokens = 0;
    int64_t num_preemptions = 0;
    int64_t prefix_cache_queries = 0;
    int64_t prefix_cache_hits = 0;
    int64_t num_draft_tokens = 0;
    int64_t num_accepted = 0;
  };

  void add(const StepReport& report);
  std::string line(const StepReport& last) const;

  const Clock& clock_;
  const std::function<void(const std::string&)> write_;
  Window window_;
  Seconds last_line_;
};

}  // namespace tetrad
