#include "exit_timer.h"

#include <cstdlib>
#include <utility>

#include "base/log.h"
#include "cli_io.h"

namespace tetrad {

ExitTimer::ExitTimer(std::chrono::milliseconds time, std::string why)
    : thread_([this, end = std::chrono::steady_clock::now() + time, why = std::move(why)] {
        std::unique_lock lock(mutex_);
        if (changed_.wait_until(lock, end, [this] { return is_over_; })) return;
        log::error("{}", why);
        std::_Exit(kExitFailed);
      }) {}

ExitTimer::~ExitTimer() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

}  // namespace tetrad
