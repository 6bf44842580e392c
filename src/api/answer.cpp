#include "api/answer.h"

#include <algorithm>
#include <utility>

namespace tetrad::api {
namespace {

/// The engine may have been asked for more than this part of the response shows.
TokenLogprobs with_top(TokenLogprobs logprobs, int64_t count) {
  if (std::cmp_greater(logprobs.top.size(), count)) logprobs.top.resize(static_cast<size_t>(count));
  return logprobs;
}

/// No stop string and no end token of something that is not shown.
FinishReason reason_of_echo(FinishReason reason) {
  return reason == FinishReason::stop ? FinishReason::length : reason;
}

}  // namespace

AnswerReader::AnswerReader(const Tokenizer& tokenizer, AnswerPlan plan,
                           std::shared_ptr<AnswerSink> sink)
    : plan_(std::move(plan)), offsets_(tokenizer), sink_(std::move(sink)) {
  if (plan_.mode == ReasoningMode::split) splitter_.emplace(plan_.starts_in_reasoning);
  if (plan_.mode == ReasoningMode::append_think && plan_.starts_in_reasoning) prefix_ = "<think>";
}

void AnswerReader::on_event(GenerationEvent event) {
  AnswerEvent answer{.index = plan_.index, .finish_reason = event.finish_reason};
  if (!std::exchange(started_, true)) add_prompt(event, answer);
  if (plan_.echo && plan_.echo->alone) {
    if (event.finish_reason) answer.finish_reason = reason_of_echo(*event.finish_reason);
  } else {
    add_text(event, answer);
    add_tokens(event, answer);
    answer.stop_reason = std::move(event.stop_reason);
  }
  answer.error = std::move(event.error);
  sink_->on_answer(std::move(answer));
}

void AnswerReader::add_prompt(const GenerationEvent& event, AnswerEvent& answer) {
  answer.num_cached_tokens = event.num_cached_tokens;
  if (plan_.prompt_logprobs) {
    for (const TokenLogprobs& logprobs : event.prompt_logprobs)
      answer.prompt_logprobs.push_back(with_top(logprobs, *plan_.prompt_logprobs));
  }
  if (!plan_.echo) return;
  answer.content = plan_.echo->text;
  if (!plan_.logprobs) return;
  for (size_t i = 0; i < plan_.echo->ids.size(); ++i) {
    std::optional<TokenLogprobs> logprobs;
    if (i > 0 && i <= event.prompt_logprobs.size()) logprobs = event.prompt_logprobs[i - 1];
    add_token(plan_.echo->ids[i], std::move(logprobs), /*shown=*/true, answer);
  }
}

void AnswerReader::add_text(const GenerationEvent& event, AnswerEvent& answer) {
  answer.num_tokens = static_cast<int64_t>(event.token_ids.size());
  if (!splitter_) {
    if (!event.text.empty()) answer.content += std::exchange(prefix_, "") + event.text;
    return;
  }
  if (splitter_->in_reasoning()) answer.num_reasoning_tokens = answer.num_tokens;
  ReasoningSplitter::Delta delta = splitter_->push(event.text);
  answer.reasoning = std::move(delta.reasoning);
  answer.content = std::move(delta.content);
  if (event.finish_reason) {
    const ReasoningSplitter::Delta rest = splitter_->finish();
    answer.reasoning += rest.reasoning;
    answer.content += rest.content;
  }
}

void AnswerReader::add_tokens(const GenerationEvent& event, AnswerEvent& answer) {
  if (!plan_.logprobs) return;
  for (const TokenLogprobs& logprobs : event.logprobs) {
    const TokenId id = logprobs.token.id;
    const bool shown = !(plan_.skip_special_tokens && offsets_.tokenizer().is_special(id));
    add_token(id, logprobs, shown, answer);
  }
}

void AnswerReader::add_token(TokenId id, std::optional<TokenLogprobs> logprobs, bool shown,
                             AnswerEvent& answer) {
  if (logprobs) logprobs = with_top(std::move(*logprobs), plan_.logprobs.value_or(0));
  answer.tokens.push_back(
      {.id = id, .logprobs = std::move(logprobs), .text_offset = offsets_.next(id, shown)});
}

}  // namespace tetrad::api
