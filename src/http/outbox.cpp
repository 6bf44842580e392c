#include "http/outbox.h"

#include <utility>

namespace tetrad::http {

Outbox::Outbox(size_t max_backlog_bytes, std::function<void()> wake)
    : max_backlog_bytes_(max_backlog_bytes), wake_(std::move(wake)) {}

void Outbox::push(std::string_view bytes, Bounded bounded) {
  bool given_up = false;
  {
    const std::scoped_lock lock(mutex_);
    if (closed_ || state_ != State::open) return;
    if (bounded == Bounded::yes && backlog_.size() + bytes.size() > max_backlog_bytes_) {
      given_up = true;
      state_ = State::broken;
      wake_();
    } else {
      // A backlog that is not empty has a wake-up on its way already.
      if (backlog_.empty()) wake_();
      backlog_ += bytes;
    }
  }
  if (given_up) run_disconnect_callback();
}

void Outbox::finish(bool intact) {
  const std::scoped_lock lock(mutex_);
  if (closed_ || state_ != State::open) return;
  state_ = intact ? State::finished : State::broken;
  disconnect_callback_ = nullptr;
  wake_();
}

void Outbox::on_disconnect(std::function<void()> callback) {
  {
    const std::scoped_lock lock(mutex_);
    if (state_ == State::finished) return;
    disconnect_callback_ = std::move(callback);
    if (!closed_ && !cancelled_ && state_ == State::open) return;
  }
  run_disconnect_callback();
}

Outbox::Batch Outbox::take() {
  const std::scoped_lock lock(mutex_);
  return {std::exchange(backlog_, std::string()), state_};
}

void Outbox::cancel() {
  {
    const std::scoped_lock lock(mutex_);
    cancelled_ = true;
  }
  run_disconnect_callback();
}

void Outbox::close() {
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    backlog_.clear();
  }
  run_disconnect_callback();
}

void Outbox::run_disconnect_callback() {
  std::function<void()> callback;
  {
    const std::scoped_lock lock(mutex_);
    callback = std::exchange(disconnect_callback_, nullptr);
  }
  if (callback) callback();
}

}  // namespace tetrad::http
