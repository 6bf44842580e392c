#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

namespace tetrad::collectives {

/// Makes a call where a wait takes longer than a deadline, by up to an eighth; to begin and end a
/// wait costs nothing. One wait at a time.
class WaitTimer {
 public:
  /// `is_late`: on a thread of the timer's.
  WaitTimer(std::chrono::milliseconds deadline, std::function<void()> is_late);
  ~WaitTimer();
  WaitTimer(const WaitTimer&) = delete;
  WaitTimer& operator=(const WaitTimer&) = delete;

  void begin();
  void end();

 private:
  void watch();

  const std::chrono::milliseconds deadline_;
  const std::function<void()> is_late_;
  std::atomic<int64_t> begun_{0};  // ticks of the steady clock; 0: nobody waits
  std::jthread thread_;
};

}  // namespace tetrad::collectives
