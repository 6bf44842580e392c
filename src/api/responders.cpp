#include "api/responders.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "api/error_response.h"

namespace tetrad::api {
namespace {

std::vector<Header> id_header(const AnswerFormat& format) {
  return {{"X-Request-Id", shown_request_id(format.header())}};
}

}  // namespace

std::optional<Error> failure_of(const AnswerEvent& event) {
  if (event.finish_reason == FinishReason::cancelled) {
    return Error{ErrorCode::cancelled, "the request was cancelled: the server is stopping", ""};
  }
  if (event.finish_reason != FinishReason::error) return std::nullopt;
  if (event.error) return event.error;
  return Error{ErrorCode::internal, "the engine gave no reason", ""};
}

WholeResponder::WholeResponder(AnswerFormat format, int64_t prompt_tokens,
                               std::shared_ptr<ResponseWriter> writer)
    : format_(std::move(format)),
      counter_(prompt_tokens, format_.header().answers_per_prompt()),
      answers_(static_cast<size_t>(format_.header().num_answers)),
      num_unfinished_(format_.header().num_answers),
      writer_(std::move(writer)) {}

void WholeResponder::on_answer(AnswerEvent event) {
  counter_.add(event);
  Answer& answer = answers_[static_cast<size_t>(event.index)];
  answer.reasoning += event.reasoning;
  answer.content += event.content;
  fold_tool_calls(std::move(event.tool_calls), answer.tool_calls);
  std::ranges::move(event.tokens, std::back_inserter(answer.tokens));
  std::ranges::move(event.token_ids, std::back_inserter(answer.token_ids));
  std::ranges::move(event.prompt_logprobs, std::back_inserter(answer.prompt_logprobs));
  if (!event.finish_reason) return;
  if (const std::optional<Error> error = failure_of(event)) {
    writer_->send(error_response(*error));
    return;
  }
  answer.finish_reason = *event.finish_reason;
  answer.stop_reason = std::move(event.stop_reason);
  answer.calls_tools = event.calls_tools;
  if (--num_unfinished_ > 0) return;
  writer_->send({.status = 200,
                 .body = format_.whole(answers_, counter_.usage()),
                 .headers = id_header(format_)});
}

StreamResponder::StreamResponder(AnswerFormat format, int64_t prompt_tokens,
                                 std::shared_ptr<ResponseWriter> writer)
    : format_(std::move(format)),
      counter_(prompt_tokens, format_.header().answers_per_prompt()),
      num_unfinished_(format_.header().num_answers),
      writer_(std::move(writer)) {}

void StreamResponder::accepted() {
  writer_->start_events(id_header(format_));
  format_.set_usage(counter_.usage());
  for (int64_t index = 0; index < format_.header().num_answers; ++index)
    send(format_.opening_chunk(index));
}

void StreamResponder::send(const std::string& chunk) {
  if (!chunk.empty()) writer_->send_event(chunk);
}

void StreamResponder::on_answer(AnswerEvent event) {
  counter_.add(event);
  format_.set_usage(counter_.usage());
  for (const std::string& chunk : format_.delta_chunks(event))
    send(chunk);
  if (!event.finish_reason) return;
  if (const std::optional<Error> error = failure_of(event)) {
    send(to_json_text(error_object(*error)));
  } else {
    send(format_.final_chunk(event));
    if (--num_unfinished_ > 0) return;
    send(format_.usage_chunk(counter_.usage()));
    send("[DONE]");
  }
  writer_->finish_events();
}

}  // namespace tetrad::api
