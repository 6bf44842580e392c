#include "bench/answer_stream.h"

#include <algorithm>
#include <utility>

namespace tetrad::bench {
namespace {

constexpr size_t kMaxErrorBytes = 64 << 10;

}  // namespace

std::optional<Seconds> RequestRecord::tpot() const {
  if (!ttft || usage.completion_tokens < 2) return std::nullopt;
  return (e2el - *ttft) / static_cast<double>(usage.completion_tokens - 1);
}

AnswerStream::AnswerStream(const Clock& clock, Callbacks callbacks)
    : clock_(clock), callbacks_(std::move(callbacks)) {
  record_.start = clock_.now();
}

void AnswerStream::on_head(int status, std::string_view content_type) {
  status_ = status;
  if (status == 200 && !content_type.starts_with("text/event-stream")) {
    trouble_ = fail(ErrorCode::corrupt_data, "the answer is of type \"{}\", not a stream of events",
                    content_type);
  }
}

bool AnswerStream::on_body(std::string_view bytes) {
  if (status_ != 200) {
    error_body_ += bytes.substr(0, kMaxErrorBytes - std::min(kMaxErrorBytes, error_body_.size()));
    return true;
  }
  if (trouble_) trouble_ = read_events(bytes);
  return trouble_.has_value();
}

Result<void> AnswerStream::read_events(std::string_view bytes) {
  std::vector<std::string> events;
  TETRAD_TRY(parser_.push(bytes, events));
  for (const std::string& data : events)
    TETRAD_TRY(read_event(data));
  return {};
}

Result<void> AnswerStream::read_event(std::string_view data) {
  if (is_done_) return fail(ErrorCode::corrupt_data, "an event follows [DONE]");
  if (data == "[DONE]") {
    is_done_ = true;
    return {};
  }
  TETRAD_ASSIGN(const StreamChunk chunk, parse_stream_chunk(data));
  if (chunk.usage) usage_ = chunk.usage;
  const Seconds since_start = clock_.now() - record_.start;
  if (chunk.has_output()) {
    TETRAD_TRY(append(answer_, chunk));
    measure_output(since_start);
    callbacks_.on_output();
  }
  if (chunk.has_choice) record_.e2el = since_start;
  // An answer without text, of special tokens only, shows itself no earlier than by its end.
  if (chunk.is_finish && !record_.ttft) record_.ttft = since_start;
  return {};
}

void AnswerStream::measure_output(Seconds since_start) {
  ++num_output_events_;
  if (record_.ttft) {
    record_.itls.push_back(since_start - last_output_);
  } else {
    record_.ttft = since_start;
  }
  last_output_ = since_start;
}

void AnswerStream::on_end(Result<void> end) {
  if (usage_) record_.usage = *usage_;
  const bool was_cancelled = !end && end.error().code == ErrorCode::cancelled;
  if (const auto complete = check_complete(end)) {
    record_.outcome = Outcome::completed;
  } else if (disconnect_expected_ && was_cancelled && trouble_) {
    record_.outcome = Outcome::disconnected;
  } else {
    record_.outcome = Outcome::failed;
    record_.error = complete.error().message;
  }
  callbacks_.on_end();
}

/// In the order of what explains most.
Result<void> AnswerStream::check_complete(const Result<void>& end) const {
  if (!trouble_) return trouble_;
  if (!end && status_ == 0) return end;
  if (status_ != 200) {
    return fail(ErrorCode::io, "HTTP {}: {}", status_, error_message(error_body_));
  }
  if (!end && !is_done_) return end;
  if (!is_done_) return fail(ErrorCode::corrupt_data, "the stream ended without [DONE]");
  if (!usage_) {
    return fail(ErrorCode::unsupported,
                "the stream had no \"usage\", without which tokens can't be counted: the server "
                "does not honour stream_options.include_usage");
  }
  if (!record_.ttft) return fail(ErrorCode::corrupt_data, "the stream had no answer in it");
  return {};
}

}  // namespace tetrad::bench
