#include "http/outbox.h"

#include <utility>

namespace tetrad::http {

Outbox::Outbox(Limits limits, std::function<void()> wake)
    : limits_(limits), wake_(std::move(wake)) {}

void Outbox::push(std::string_view bytes, Bounded bounded) {
  bool given_up = false;
  {
    const std::scoped_lock lock(mutex_);
    if (closed_ || state_ != State::open) return;
    const size_t backlog = num_writing_ + backlog_.size() + bytes.size();
    if (bounded == Bounded::yes && backlog > limits_.max_bytes) {
      given_up = true;
      state_ = State::broken;
      wake_();
    } else {
      // A backlog that is not empty has a wake-up on its way already.
      if (backlog_.empty()) wake_();
      backlog_ += bytes;
      if (bounded == Bounded::yes && backlog > limits_.pause_bytes) set_paused(true);
    }
  }
  if (given_up) run_disconnect_callback();
}

void Outbox::finish(bool intact) {
  const std::scoped_lock lock(mutex_);
  if (closed_ || state_ != State::open) return;
  state_ = intact ? State::finished : State::broken;
  disconnect_callback_ = nullptr;
  backlog_callback_ = nullptr;
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

void Outbox::on_backlog(std::function<void(bool paused)> callback) {
  const std::scoped_lock lock(mutex_);
  if (closed_ || state_ != State::open) return;
  backlog_callback_ = std::move(callback);
  if (paused_since_) backlog_callback_(true);
}

/// The callback runs with the lock held, so that its calls come in the order of the changes.
void Outbox::set_paused(bool paused) {
  if (paused_since_.has_value() == paused) return;
  paused_since_.reset();
  if (paused) paused_since_ = std::chrono::steady_clock::now();
  if (backlog_callback_) backlog_callback_(paused);
}

Outbox::Batch Outbox::take() {
  const std::scoped_lock lock(mutex_);
  num_writing_ = backlog_.size();
  // Well below where it began, or a client at the limit would make its producer stop and go.
  if (num_writing_ <= limits_.pause_bytes / 2) set_paused(false);
  return {std::exchange(backlog_, std::string()), state_};
}

std::optional<std::chrono::steady_clock::time_point> Outbox::paused_since() const {
  const std::scoped_lock lock(mutex_);
  return paused_since_;
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
    backlog_callback_ = nullptr;
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
