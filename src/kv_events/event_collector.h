#pragma once

#include <vector>

#include "base/metrics.h"
#include "engine/engine_observer.h"
#include "kv_events/event_queue.h"

namespace tetrad::kv_events {

struct KvEventCounters {
  metrics::Counter& published;  // events that went out
  metrics::Counter& dropped;    // events that nobody got: the queue was full
  metrics::Counter& missed;     // batches that some subscriber did not get: it is too slow

  /// Adds them to a registry.
  static KvEventCounters in(metrics::Registry& registry, const metrics::Labels& labels);
};

/// Makes a batch of what a step changed in the prefix cache.
class EventCollector final : public EngineObserver {
 public:
  /// Both must outlive it. Begins with AllBlocksCleared: who knew an earlier process is to forget.
  EventCollector(EventQueue& queue, const KvEventCounters& counters);

  void on_blocks_stored(const StoredBlocks& blocks) override;
  void on_block_removed(const PrefixHash& hash) override;
  void on_step(const StepReport& report) override;

 private:
  void push();

  EventQueue& queue_;
  KvEventCounters counters_;
  std::vector<KvEvent> events_;
};

}  // namespace tetrad::kv_events
