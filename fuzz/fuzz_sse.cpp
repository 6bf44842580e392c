// The stream of a completion, as tetrad bench reads it: server-sent events, and the JSON in them.
// The first byte says where the stream is cut in two; the outcome must not depend on it.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "bench/answer_stream.h"

namespace {

using namespace tetrad;
using namespace tetrad::bench;

void require(bool condition) {
  if (!condition) std::abort();
}

class StoppedClock final : public Clock {
 public:
  Seconds now() const override { return Seconds(0); }
};

struct Reading {
  RequestRecord record;
  Answer answer;
};

Reading read(std::string_view first, std::string_view second) {
  const StoppedClock clock;
  int num_ends = 0;
  AnswerStream stream(clock, {.on_output = [] {}, .on_end = [&num_ends] { ++num_ends; }});
  stream.on_head(200, "text/event-stream");
  const bool goes_on = stream.on_body(first) && stream.on_body(second);
  if (goes_on) {
    stream.on_end({});
  } else {
    stream.on_end(fail(ErrorCode::cancelled, "cancelled"));
  }
  require(num_ends == 1);
  return {stream.record(), stream.answer()};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = text.size() * data[0] / 256;
  const Reading whole = read(text, "");
  const Reading cut_in_two = read(text.substr(0, cut), text.substr(cut));
  require(whole.record.outcome == cut_in_two.record.outcome);
  require(whole.record.error == cut_in_two.record.error);
  require(whole.record.itls.size() == cut_in_two.record.itls.size());
  require(whole.answer.content == cut_in_two.answer.content);
  require(whole.answer.reasoning == cut_in_two.answer.reasoning);
  require(whole.answer.tool_calls == cut_in_two.answer.tool_calls);
  return 0;
}
