#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"
#include "exit_timer.h"

namespace tetrad {

/// What a process does that has lost one of its ranks: it says so, lets the verb end what it has
/// begun, and ends when the grace is over, whatever still waits.
class RankLoss {
 public:
  explicit RankLoss(std::chrono::milliseconds grace);
  /// The process goes on.
  ~RankLoss();
  RankLoss(const RankLoss&) = delete;
  RankLoss& operator=(const RankLoss&) = delete;

  /// The first time counts. Thread-safe; returns at once.
  void lost(const Error& error);
  bool is_lost() const;

  /// Called once, on a thread of this one's, when a rank is lost or was lost already; null: nobody
  /// is called any more when this returns.
  void when_lost(std::function<void()> call);

 private:
  void watch();

  const std::chrono::milliseconds grace_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool is_lost_ = false;
  bool is_over_ = false;
  std::mutex call_mutex_;  // of call_, held while it is called
  std::function<void()> call_;
  std::optional<ExitTimer> timer_;  // of thread_
  std::thread thread_;
};

}  // namespace tetrad
