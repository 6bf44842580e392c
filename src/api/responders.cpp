#include "api/responders.h"

#include <utility>

#include "api/error_response.h"

namespace tetrad::api {
namespace {

/// What went wrong, if the last event says that something did.
std::optional<Error> failure_of(const AnswerEvent& event) {
  if (event.finish_reason == FinishReason::cancelled) {
    return Error{ErrorCode::cancelled, "the request was cancelled: the server is stopping", ""};
  }
  if (event.finish_reason != FinishReason::error) return std::nullopt;
  if (event.error) return event.error;
  return Error{ErrorCode::internal, "the engine gave no reason", ""};
}

std::vector<Header> id_header(const AnswerFormat& format) {
  return {{"X-Request-Id", format.header().id}};
}

}  // namespace

WholeResponder::WholeResponder(AnswerFormat format, int64_t prompt_tokens,
                               std::shared_ptr<ResponseWriter> writer)
    : format_(std::move(format)), counter_(prompt_tokens), writer_(std::move(writer)) {}

void WholeResponder::on_answer(AnswerEvent event) {
  counter_.add(event);
  answer_.reasoning += event.reasoning;
  answer_.content += event.content;
  if (!event.finish_reason) return;
  if (const std::optional<Error> error = failure_of(event)) {
    writer_->send(error_response(*error));
    return;
  }
  answer_.finish_reason = *event.finish_reason;
  answer_.stop_reason = std::move(event.stop_reason);
  writer_->send({.status = 200,
                 .body = format_.whole(answer_, counter_.usage()),
                 .headers = id_header(format_)});
}

StreamResponder::StreamResponder(AnswerFormat format, int64_t prompt_tokens,
                                 std::shared_ptr<ResponseWriter> writer)
    : format_(std::move(format)), counter_(prompt_tokens), writer_(std::move(writer)) {}

void StreamResponder::open() {
  std::call_once(opened_, [this] {
    writer_->start_events(id_header(format_));
    send(format_.opening_chunk());
  });
}

void StreamResponder::send(const std::string& chunk) {
  if (!chunk.empty()) writer_->send_event(chunk);
}

void StreamResponder::on_answer(AnswerEvent event) {
  open();
  counter_.add(event);
  send(format_.delta_chunk(event));
  if (!event.finish_reason) return;
  if (const std::optional<Error> error = failure_of(event)) {
    send(to_json_text(error_object(*error)));
  } else {
    send(format_.final_chunk(*event.finish_reason, event.stop_reason));
    send(format_.usage_chunk(counter_.usage()));
    send("[DONE]");
  }
  writer_->finish_events();
}

}  // namespace tetrad::api
