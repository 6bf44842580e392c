#pragma once

// The two ways an answer reaches its client. Both are folds over the same AnswerEvents.

#include <memory>
#include <mutex>

#include "api/answer.h"
#include "api/answer_format.h"
#include "api/transport.h"

namespace tetrad::api {

/// Counts an answer's tokens.
class UsageCounter {
 public:
  explicit UsageCounter(int64_t prompt_tokens) { usage_.prompt_tokens = prompt_tokens; }
  void add(const AnswerEvent& event) {
    usage_.completion_tokens += event.num_tokens;
    usage_.reasoning_tokens += event.num_reasoning_tokens;
  }
  const Usage& usage() const { return usage_; }

 private:
  Usage usage_;
};

/// An AnswerSink with a client behind it.
class Responder : public AnswerSink {
 public:
  /// The engine has taken the request: from here on the response is a success, or an error that
  /// happened on the way. Called at most once; the first event may come before it.
  virtual void accepted() = 0;
};

/// Collects the answer and sends one JSON.
class WholeResponder final : public Responder {
 public:
  WholeResponder(AnswerFormat format, int64_t prompt_tokens,
                 std::shared_ptr<ResponseWriter> writer);
  void accepted() override {}
  void on_answer(AnswerEvent event) override;

 private:
  AnswerFormat format_;
  UsageCounter counter_;
  Answer answer_;
  std::shared_ptr<ResponseWriter> writer_;
};

/// Sends every event as it comes.
class StreamResponder final : public Responder {
 public:
  StreamResponder(AnswerFormat format, int64_t prompt_tokens,
                  std::shared_ptr<ResponseWriter> writer);
  void accepted() override { open(); }
  void on_answer(AnswerEvent event) override;

 private:
  void open();
  void send(const std::string& chunk);

  AnswerFormat format_;
  UsageCounter counter_;
  std::shared_ptr<ResponseWriter> writer_;
  std::once_flag opened_;  // by accepted() or the first event, whichever thread is first
};

}  // namespace tetrad::api
