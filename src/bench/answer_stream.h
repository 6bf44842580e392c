#pragma once

// What is measured of one request, by the definitions of vLLM's benchmark.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "bench/stream_chunk.h"
#include "bench/workload.h"
#include "http/client.h"
#include "http/sse_parser.h"

namespace tetrad::bench {

enum class Outcome {
  completed,
  failed,
  disconnected,  // by us, on purpose
};

struct RequestRecord {
  Outcome outcome = Outcome::failed;
  std::string error;  // of a failed one
  Seconds start{0};   // on the clock
  /// Time to the first event with output in it.
  std::optional<Seconds> ttft;
  /// Time to the last event that belongs to the answer: output or its end.
  Seconds e2el{0};
  /// Between one event with output and the next. An event may hold several tokens.
  std::vector<Seconds> itls;
  /// As the server counts.
  Usage usage;

  /// Mean time of an output token after the first: (e2el - ttft) / (completion_tokens - 1).
  std::optional<Seconds> tpot() const;
};

/// Receives the stream of one answer and measures it.
class AnswerStream final : public http::ResponseSink {
 public:
  struct Callbacks {
    std::function<void()> on_output;  // after each event with output
    std::function<void()> on_end;     // last
  };

  /// The clock must outlive it. The request counts as sent now.
  AnswerStream(const Clock& clock, Callbacks callbacks);

  /// From now on, an end before the answer is complete is one that was wanted.
  void expect_disconnect() { disconnect_expected_ = true; }

  const RequestRecord& record() const { return record_; }
  const Answer& answer() const { return answer_; }
  int64_t num_output_events() const { return num_output_events_; }

  void on_head(int status, std::string_view content_type) override;
  bool on_body(std::string_view bytes) override;
  void on_end(Result<void> end) override;

 private:
  Result<void> read_events(std::string_view bytes);
  Result<void> read_event(std::string_view data);
  void measure_output(Seconds since_start);
  Result<void> check_complete(const Result<void>& end) const;

  const Clock& clock_;
  Callbacks callbacks_;
  RequestRecord record_;
  Answer answer_;
  int status_ = 0;
  std::string error_body_;  // of a response that is no stream
  http::SseParser parser_;
  Result<void> trouble_;  // the first
  std::optional<Usage> usage_;
  Seconds last_output_{0};
  int64_t num_output_events_ = 0;
  bool is_done_ = false;
  bool disconnect_expected_ = false;
};

}  // namespace tetrad::bench
