#include "answer_sink.h"

#include <utility>

namespace tetrad {
namespace {

/// Appends a later event to an earlier one.
void append(GenerationEvent& earlier, GenerationEvent later) {
  earlier.token_ids.insert(earlier.token_ids.end(), later.token_ids.begin(), later.token_ids.end());
  earlier.text += later.text;
  earlier.finish_reason = later.finish_reason;
  earlier.stop_reason = std::move(later.stop_reason);
  earlier.error = std::move(later.error);
}

}  // namespace

void AnswerSink::on_event(GenerationEvent event) {
  {
    const std::scoped_lock lock(mutex_);
    append(news_, std::move(event));
    has_news_ = true;
  }
  arrived_.notify_one();
}

GenerationEvent AnswerSink::wait_for_news() {
  std::unique_lock lock(mutex_);
  arrived_.wait(lock, [this] { return has_news_; });
  has_news_ = false;
  return std::exchange(news_, {});
}

GenerationEvent AnswerSink::wait_for_end() {
  GenerationEvent answer = wait_for_news();
  while (!answer.finish_reason)
    append(answer, wait_for_news());
  return answer;
}

}  // namespace tetrad
