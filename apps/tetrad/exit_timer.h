#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace tetrad {

/// Ends the process with kExitFailed if it still lives after so long: for an end that waits for
/// others who may not come.
class ExitTimer {
 public:
  /// why: said in the log.
  ExitTimer(std::chrono::milliseconds time, std::string why);
  ~ExitTimer();
  ExitTimer(const ExitTimer&) = delete;
  ExitTimer& operator=(const ExitTimer&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace tetrad
