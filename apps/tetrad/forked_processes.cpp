#include "forked_processes.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "base/system_error.h"

namespace tetrad {

Result<void> ForkedProcesses::start(const std::function<int()>& body) {
  std::fflush(nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return system_error("a process", "fork");
  if (child == 0) {
    // It does not outlive a parent that was killed.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    const int status = body();
    std::fflush(nullptr);
    _exit(status);
  }
  running_.push_back(child);
  return {};
}

Result<int> ForkedProcesses::wait(std::chrono::milliseconds at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  int worst = 0;
  while (!running_.empty()) {
    std::erase_if(running_, [&](pid_t child) {
      int status = 0;
      if (waitpid(child, &status, WNOHANG) != child) return false;
      worst = std::max(worst, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
      return true;
    });
    if (running_.empty()) break;
    if (std::chrono::steady_clock::now() >= until)
      return fail(ErrorCode::resource_exhausted, "{} of the ranks did not end within {} ms",
                  running_.size(), at_most.count());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return worst;
}

ForkedProcesses::~ForkedProcesses() {
  for (const pid_t child : running_) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
}

}  // namespace tetrad
