#include "collectives/wait_timer.h"

#include <condition_variable>
#include <mutex>
#include <utility>

namespace tetrad::collectives {
namespace {

using Clock = std::chrono::steady_clock;

int64_t now_in_ticks() {
  return Clock::now().time_since_epoch().count();
}

}  // namespace

WaitTimer::WaitTimer(std::chrono::milliseconds deadline, std::function<void()> is_late)
    : deadline_(deadline),
      is_late_(std::move(is_late)),
      thread_([this](const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any stopped;
        std::unique_lock lock(mutex);
        while (!stopped.wait_for(lock, stop, deadline_ / 8, [&] { return stop.stop_requested(); }))
          watch();
      }) {}

WaitTimer::~WaitTimer() = default;

void WaitTimer::begin() {
  begun_ = now_in_ticks();
}

void WaitTimer::end() {
  begun_ = 0;
}

void WaitTimer::watch() {
  const int64_t begun = begun_;
  if (begun == 0 || Clock::duration(now_in_ticks() - begun) < deadline_) return;
  begun_ = 0;
  is_late_();
}

}  // namespace tetrad::collectives
