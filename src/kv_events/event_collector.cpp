#include "kv_events/event_collector.h"

#include <utility>

namespace tetrad::kv_events {

KvEventCounters KvEventCounters::in(metrics::Registry& registry, const metrics::Labels& labels) {
  return {
      registry.counter("tetrad:kv_events_published", "KV cache events sent.", labels),
      registry.counter("tetrad:kv_events_dropped",
                       "KV cache events lost because their queue was full.", labels),
      registry.counter("tetrad:kv_event_batches_missed",
                       "Batches of KV cache events that a slow subscriber did not get.", labels)};
}

EventCollector::EventCollector(EventQueue& queue, const KvEventCounters& counters)
    : queue_(queue), counters_(counters) {
  events_.push_back({.kind = KvEvent::Kind::cleared});
  push();
}

void EventCollector::on_blocks_stored(const StoredBlocks& blocks) {
  KvEvent event{.kind = KvEvent::Kind::stored};
  event.hashes.reserve(blocks.hashes.size());
  for (const PrefixHash& hash : blocks.hashes)
    event.hashes.push_back(hash.low);
  if (blocks.parent) event.parent = blocks.parent->low;
  event.tokens.assign(blocks.tokens.begin(), blocks.tokens.end());
  events_.push_back(std::move(event));
}

void EventCollector::on_block_removed(const PrefixHash& hash) {
  // Blocks go one by one, and many of them in a step.
  if (events_.empty() || events_.back().kind != KvEvent::Kind::removed) {
    events_.push_back({.kind = KvEvent::Kind::removed});
  }
  events_.back().hashes.push_back(hash.low);
}

void EventCollector::on_step(const StepReport& /*report*/) {
  if (!events_.empty()) push();
}

void EventCollector::push() {
  const auto count = static_cast<int64_t>(events_.size());
  if (!queue_.push(std::exchange(events_, {}))) counters_.dropped.add(count);
}

}  // namespace tetrad::kv_events
