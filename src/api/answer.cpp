#include "api/answer.h"

#include <algorithm>
#include <utility>

#include "api/random_id.h"
#include "base/log.h"

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

/// Without them the tags are spelled by ordinary tokens.
bool has_tag_tokens(const Tokenizer& tokenizer) {
  const auto is_token = [&](std::string_view tag) {
    return tokenizer.find_added_token(tag).has_value();
  };
  return is_token("<think>") && is_token("</think>") && is_token("<minimax:tool_call>") &&
         is_token("</minimax:tool_call>");
}

}  // namespace

void fold_tool_calls(std::vector<AnswerToolCall> pieces, std::vector<AnswerToolCall>& calls) {
  for (AnswerToolCall& piece : pieces) {
    if (std::cmp_equal(piece.index, calls.size())) {
      calls.push_back(std::move(piece));
    } else {
      calls[static_cast<size_t>(piece.index)].arguments += piece.arguments;
    }
  }
}

void add_output(OutputDelta delta, AnswerEvent& event) {
  event.reasoning += delta.reasoning;
  event.content += delta.content;
  for (ToolCallDelta& piece : delta.tool_calls) {
    if (!event.tool_calls.empty() && event.tool_calls.back().index == piece.index) {
      event.tool_calls.back().arguments += piece.arguments;
      continue;
    }
    event.tool_calls.push_back({.index = piece.index,
                                .id = piece.name ? random_id("call_") : "",
                                .name = std::move(piece.name).value_or(""),
                                .arguments = std::move(piece.arguments)});
  }
}

std::string_view answer_finish_reason(FinishReason reason, bool calls_tools) {
  if (calls_tools && reason == FinishReason::stop) return "tool_calls";
  return finish_reason_name(reason);
}

AnswerReader::AnswerReader(const Tokenizer& tokenizer, AnswerPlan plan,
                           std::shared_ptr<AnswerSink> sink)
    : plan_(std::move(plan)), offsets_(tokenizer), sink_(std::move(sink)) {
  if (plan_.mode == ReasoningMode::plain) return;
  parser_.emplace(
      OutputFormat{.starts_in_reasoning = plan_.starts_in_reasoning,
                   .reasoning = plan_.mode == ReasoningMode::split ? ReasoningStyle::split
                                                                   : ReasoningStyle::append_think,
                   .tools = plan_.tools,
                   .parallel_tool_calls = plan_.parallel_tool_calls,
                   .tags = has_tag_tokens(tokenizer) ? TagSource::tokens : TagSource::spelling});
}

void AnswerReader::on_event(GenerationEvent event) {
  AnswerEvent answer{.index = plan_.index, .finish_reason = event.finish_reason};
  if (!std::exchange(started_, true)) add_prompt(event, answer);
  if (plan_.echo && plan_.echo->alone) {
    if (event.finish_reason) answer.finish_reason = reason_of_echo(*event.finish_reason);
  } else {
    add_text(event, answer);
    add_tokens(event, answer);
    if (plan_.return_token_ids) answer.token_ids = std::move(event.token_ids);
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
  if (!parser_) {
    answer.content += event.text;
    return;
  }
  if (parser_->in_reasoning()) answer.num_reasoning_tokens = answer.num_tokens;
  const std::string_view text = event.text;
  size_t read = 0;
  for (const TextSpan& tag : event.tags) {
    add_output(parser_->push(text.substr(read, tag.begin - read)), answer);
    add_output(parser_->push_tag(text.substr(tag.begin, tag.end - tag.begin)), answer);
    read = tag.end;
  }
  add_output(parser_->push(text.substr(read)), answer);
  if (!event.finish_reason) return;
  add_output(parser_->finish(), answer);
  answer.calls_tools = parser_->has_complete_tool_call();
  if (const int64_t dropped = parser_->num_unknown_calls(); dropped > 0) {
    log::warn("an answer calls functions that are not among the request's tools, {} times",
              dropped);
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
