#pragma once

#include <functional>
#include <mutex>
#include <utility>

namespace tetrad::parallel {

/// What Communicator::when_broken() asks for. Thread-safe.
class BrokenCall {
 public:
  void set(std::function<void()> call) {
    const std::lock_guard lock(mutex_);
    call_ = std::move(call);
    make_if_due();
  }
  void broken() {
    const std::lock_guard lock(mutex_);
    is_broken_ = true;
    make_if_due();
  }

 private:
  void make_if_due() {
    if (is_broken_ && call_) std::exchange(call_, nullptr)();
  }

  std::mutex mutex_;
  std::function<void()> call_;
  bool is_broken_ = false;
};

}  // namespace tetrad::parallel
