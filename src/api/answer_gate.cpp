#include "api/answer_gate.h"

#include <utility>

namespace tetrad::api {

AnswerGate::AnswerGate(std::shared_ptr<Responder> responder, int64_t num_answers)
    : num_unfinished_(num_answers), responder_(std::move(responder)) {}

/// Whether other generations must be cancelled now. The mutex is held.
bool AnswerGate::pass(AnswerEvent event) {
  if (state_ == State::closed) return false;
  if (event.finish_reason) --num_unfinished_;
  const bool failed = failure_of(event).has_value();
  responder_->on_answer(std::move(event));
  if (!failed) return false;
  state_ = State::closed;
  return num_unfinished_ > 0;
}

void AnswerGate::on_answer(AnswerEvent event) {
  bool cancel_others = false;
  {
    const std::scoped_lock lock(mutex_);
    if (state_ == State::undecided) {
      early_.push_back(std::move(event));
      return;
    }
    cancel_others = pass(std::move(event));
  }
  if (cancel_others) cancel_();
}

void AnswerGate::open(std::function<void()> cancel) {
  bool cancel_others = false;
  {
    const std::scoped_lock lock(mutex_);
    cancel_ = std::move(cancel);
    state_ = State::open;
    responder_->accepted();
    for (AnswerEvent& event : early_)
      cancel_others |= pass(std::move(event));
    early_.clear();
  }
  if (cancel_others) cancel_();
}

void AnswerGate::close() {
  const std::scoped_lock lock(mutex_);
  state_ = State::closed;
  early_.clear();
}

}  // namespace tetrad::api
