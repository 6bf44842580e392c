#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "api/transport.h"
#include "base/clock.h"
#include "engine/engine.h"

namespace tetrad::api {

/// Finds out whether the engine still generates. Thread-safe.
class HealthProbe {
 public:
  /// Generates one token, in front of all that waits, and answers 200, or 503 with the reason if
  /// none comes in time. The caller waits. Probes that come meanwhile get the same answer and do
  /// not wait, so that they never take more than one worker.
  void answer(Engine& engine, const Tokenizer& tokenizer, std::shared_ptr<ResponseWriter> writer,
              Seconds deadline);

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<ResponseWriter>> waiting_;  // the first is the running probe's
};

}  // namespace tetrad::api
