#include "api/answer.h"

#include <utility>

namespace tetrad::api {

AnswerReader::AnswerReader(ReasoningMode mode, bool starts_in_reasoning,
                           std::shared_ptr<AnswerSink> sink)
    : sink_(std::move(sink)) {
  if (mode == ReasoningMode::split) splitter_.emplace(starts_in_reasoning);
  if (mode == ReasoningMode::append_think && starts_in_reasoning) prefix_ = "<think>";
}

void AnswerReader::on_event(GenerationEvent event) {
  AnswerEvent answer;
  answer.num_tokens = static_cast<int64_t>(event.token_ids.size());
  if (splitter_) {
    if (splitter_->in_reasoning()) answer.num_reasoning_tokens = answer.num_tokens;
    ReasoningSplitter::Delta delta = splitter_->push(event.text);
    answer.reasoning = std::move(delta.reasoning);
    answer.content = std::move(delta.content);
    if (event.finish_reason) {
      const ReasoningSplitter::Delta rest = splitter_->finish();
      answer.reasoning += rest.reasoning;
      answer.content += rest.content;
    }
  } else {
    answer.content = std::move(event.text);
    if (!answer.content.empty()) answer.content.insert(0, std::exchange(prefix_, ""));
  }
  answer.finish_reason = event.finish_reason;
  answer.stop_reason = std::move(event.stop_reason);
  answer.error = std::move(event.error);
  sink_->on_answer(std::move(answer));
}

}  // namespace tetrad::api
