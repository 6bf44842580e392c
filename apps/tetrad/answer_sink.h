#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "engine/request.h"

namespace tetrad {

/// Collects the events of one request for a thread that waits for them.
class AnswerSink : public EventSink {
 public:
  void on_event(GenerationEvent event) override;

  /// Everything that has come since the last call; blocks until there is something. The event with
  /// the finish_reason comes once, at the end.
  GenerationEvent wait_for_news();
  /// Everything that is still to come, as one event; blocks until the end.
  GenerationEvent wait_for_end();

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  GenerationEvent news_;
  bool has_news_ = false;
};

}  // namespace tetrad
