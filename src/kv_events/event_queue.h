#pragma once

// From the engine's thread to the publisher's. The engine never waits.

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "kv_events/event_batch.h"

namespace tetrad::kv_events {

class EventQueue {
 public:
  /// Holds `max_size` batches.
  static Result<std::unique_ptr<EventQueue>> create(int64_t max_size);
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  /// Gives the events the next sequence number and the present time. False if there is no room:
  /// they are lost, and their number with them, so that subscribers see a gap.
  bool push(std::vector<KvEvent> events);
  /// No more will come.
  void close();

  /// A file descriptor that is readable when there is news, until take().
  int news() const { return news_; }
  struct Taken {
    std::deque<KvEventBatch> batches;
    bool closed = false;  // these were the last
  };
  Taken take();

 private:
  EventQueue(int64_t max_size, int news) : max_size_(static_cast<size_t>(max_size)), news_(news) {}
  void wake() const;

  const size_t max_size_;
  const int news_;  // an eventfd
  std::mutex mutex_;
  std::deque<KvEventBatch> batches_;
  uint64_t next_sequence_ = 0;
  bool closed_ = false;
};

}  // namespace tetrad::kv_events
