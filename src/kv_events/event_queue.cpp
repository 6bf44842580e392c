#include "kv_events/event_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

namespace tetrad::kv_events {
namespace {

double unix_time() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

}  // namespace

Result<std::unique_ptr<EventQueue>> EventQueue::create(int64_t max_size) {
  const int news = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (news < 0) return fail(ErrorCode::io, "cannot make an eventfd: {}", std::strerror(errno));
  return std::unique_ptr<EventQueue>(new EventQueue(max_size, news));
}

EventQueue::~EventQueue() {
  ::close(news_);
}

bool EventQueue::push(std::vector<KvEvent> events) {
  {
    const std::scoped_lock lock(mutex_);
    const uint64_t sequence = next_sequence_++;
    if (closed_ || batches_.size() >= max_size_) return false;
    batches_.push_back(
        {.sequence = sequence, .timestamp = unix_time(), .events = std::move(events)});
  }
  wake();
  return true;
}

void EventQueue::close() {
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
  }
  wake();
}

void EventQueue::wake() const {
  const uint64_t one = 1;
  // It fails only when there is news already, a great deal of it.
  [[maybe_unused]] const ssize_t written = ::write(news_, &one, sizeof one);
}

EventQueue::Taken EventQueue::take() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = ::read(news_, &count, sizeof count);
  const std::scoped_lock lock(mutex_);
  return {.batches = std::exchange(batches_, {}), .closed = closed_};
}

}  // namespace tetrad::kv_events
