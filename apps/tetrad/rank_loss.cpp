#include "rank_loss.h"

#include <utility>

#include "base/log.h"

namespace tetrad {

RankLoss::RankLoss(std::chrono::milliseconds grace) : grace_(grace), thread_([this] { watch(); }) {}

RankLoss::~RankLoss() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void RankLoss::lost(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(is_lost_, true)) return;
  }
  log::error("a rank is lost, and this process ends: {}", error.message);
  changed_.notify_all();
}

bool RankLoss::is_lost() const {
  const std::lock_guard lock(mutex_);
  return is_lost_;
}

void RankLoss::when_lost(std::function<void()> call) {
  const std::lock_guard calling(call_mutex_);
  call_ = std::move(call);
  if (call_ && is_lost()) std::exchange(call_, nullptr)();
}

void RankLoss::watch() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_lost_ || is_over_; });
    if (is_over_) return;
  }
  // Somebody may still wait when it is over, perhaps for the rank that is lost.
  timer_.emplace(grace_, "this process ends in the middle of what it does");
  const std::lock_guard calling(call_mutex_);
  if (call_) std::exchange(call_, nullptr)();
}

}  // namespace tetrad
