#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "api/responders.h"

namespace tetrad::api {

/// Stands between the engine and a Responder that answers one request with several generations.
/// They are submitted one after the other, so the first may have news before it is known whether
/// the last is accepted: the gate keeps them back until then. When one fails, the others end, too.
class AnswerGate final : public AnswerSink {
 public:
  AnswerGate(std::shared_ptr<Responder> responder, int64_t num_answers);

  void on_answer(AnswerEvent event) override;

  /// All generations were accepted. `cancel` ends them, as far as they still run; it is called at
  /// most once, on the thread that brings the failure.
  void open(std::function<void()> cancel);
  /// Not all were: nothing gets through any more.
  void close();

 private:
  enum class State { undecided, open, closed };

  bool pass(AnswerEvent event);

  std::mutex mutex_;
  State state_ = State::undecided;
  std::vector<AnswerEvent> early_;  // that came while it was undecided
  int64_t num_unfinished_;
  std::function<void()> cancel_;
  std::shared_ptr<Responder> responder_;
};

}  // namespace tetrad::api
