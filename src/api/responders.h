#pragma once

// The two ways an answer reaches its client. Both are folds over the same AnswerEvents.

#include <memory>
#include <string>
#include <vector>

#include "api/answer.h"
#include "api/answer_format.h"
#include "api/transport.h"

namespace tetrad::api {

/// Counts the tokens of all answers to one request.
class UsageCounter {
 public:
  explicit UsageCounter(int64_t prompt_tokens, int64_t answers_per_prompt = 1)
      : answers_per_prompt_(answers_per_prompt) {
    usage_.prompt_tokens = prompt_tokens;
  }
  void add(const AnswerEvent& event) {
    usage_.completion_tokens += event.num_tokens;
    usage_.reasoning_tokens += event.num_reasoning_tokens;
    // The later answers to a prompt find what the first one left.
    if (event.index % answers_per_prompt_ == 0) usage_.cached_tokens += event.num_cached_tokens;
  }
  const Usage& usage() const { return usage_; }

 private:
  int64_t answers_per_prompt_;
  Usage usage_;
};

/// What X-Request-Id says: the client's own name for the request, else the response's id.
template <class ResponseHeader>
const std::string& shown_request_id(const ResponseHeader& header) {
  return header.request_id.empty() ? header.id : header.request_id;
}

/// What went wrong, if the last event of an answer says that something did.
std::optional<Error> failure_of(const AnswerEvent& event);

/// An AnswerSink with a client behind it. One thread at a time; after an event with a failure no
/// other comes (AnswerGate sees to both).
class Responder : public AnswerSink {
 public:
  /// The engine has taken the request: from here on the response is a success, or an error that
  /// happened on the way. Called once, before the first event.
  virtual void accepted() = 0;
};

/// Collects the answers and sends one JSON.
class WholeResponder final : public Responder {
 public:
  WholeResponder(AnswerFormat format, int64_t prompt_tokens,
                 std::shared_ptr<ResponseWriter> writer);
  void accepted() override {}
  void on_answer(AnswerEvent event) override;

 private:
  AnswerFormat format_;
  UsageCounter counter_;
  std::vector<Answer> answers_;
  int64_t num_unfinished_;
  std::shared_ptr<ResponseWriter> writer_;
};

/// Sends every event as it comes.
class StreamResponder final : public Responder {
 public:
  StreamResponder(AnswerFormat format, int64_t prompt_tokens,
                  std::shared_ptr<ResponseWriter> writer);
  void accepted() override;
  void on_answer(AnswerEvent event) override;

 private:
  void send(const std::string& chunk);

  AnswerFormat format_;
  UsageCounter counter_;
  int64_t num_unfinished_;
  std::shared_ptr<ResponseWriter> writer_;
};

}  // namespace tetrad::api
