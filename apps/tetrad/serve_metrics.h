#pragma once

// What `tetrad serve` tells about itself: /metrics and the log's status line.

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "engine/engine_metrics.h"
#include "loaded_model.h"
#include "serve_flags.h"

namespace tetrad {

/// Outlives the engine, which reports to it.
class ServeMetrics {
 public:
  ServeMetrics(const std::string& model_name, const ServeFlags& flags, const LoadedModel& loaded,
               const EngineOptions& options);

  metrics::Registry& registry() { return registry_; }
  const metrics::Labels& labels() const { return engine_metrics_->labels(); }
  std::shared_ptr<EngineObserver> observer() const { return observer_; }

  /// Adds what only a started engine knows.
  void describe(const Engine& engine, const LoadedModel& loaded);
  /// The body of GET /metrics.
  std::string text(const Engine& engine);

 private:
  metrics::Registry registry_;
  SteadyClock clock_;
  std::shared_ptr<EngineMetrics> engine_metrics_;
  std::shared_ptr<EngineObserver> observer_;
};

}  // namespace tetrad
