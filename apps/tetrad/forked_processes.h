#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <vector>

#include "base/error.h"

namespace tetrad {

/// Processes forked from this one, which end with it: by themselves, or when their time is up.
class ForkedProcesses {
 public:
  ForkedProcesses() = default;
  ForkedProcesses(const ForkedProcesses&) = delete;
  ForkedProcesses& operator=(const ForkedProcesses&) = delete;
  /// Ends those that still run.
  ~ForkedProcesses();

  /// Runs body() in a new process, which exits with the status that it returns. Before this process
  /// has loaded a GPU's driver or started threads, neither of which survive a fork.
  Result<void> start(const std::function<int()>& body);

  /// Waits until all have ended, or ends them. The largest exit status; 128 and more after a
  /// signal. Errors: resource_exhausted, when the time was up.
  Result<int> wait(std::chrono::milliseconds at_most);

 private:
  std::vector<pid_t> running_;
};

}  // namespace tetrad
