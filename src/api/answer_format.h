#pragma once

// The JSON of answers in the OpenAI API's spelling, with vLLM's additions (`reasoning`,
// `stop_reason`). `reasoning_content` is `reasoning` under its older name, which many clients read.

#include <cstdint>
#include <optional>
#include <string>

#include "api/answer.h"
#include "api/unsupported_fields.h"
#include "base/json.h"

namespace tetrad::api {

/// What every chunk of one response repeats, and what it shall show.
struct AnswerHeader {
  Dialect dialect = Dialect::chat;
  std::string id;
  int64_t created = 0;  // seconds since 1970
  std::string model;
  std::string system_fingerprint;
  bool include_reasoning = true;
  bool include_usage = false;  // of a stream
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t reasoning_tokens = 0;
};

/// A finished answer: all its events put together.
struct Answer {
  std::string reasoning;
  std::string content;
  FinishReason finish_reason = FinishReason::stop;
  std::optional<std::string> stop_reason;
};

class AnswerFormat {
 public:
  explicit AnswerFormat(AnswerHeader header) : header_(std::move(header)) {}

  /// The whole response.
  std::string whole(const Answer& answer, const Usage& usage) const;

  /// The first chunk of a stream, which names the role; "" where the dialect has none.
  std::string opening_chunk() const;
  /// "" if the event shows nothing.
  std::string delta_chunk(const AnswerEvent& event) const;
  std::string final_chunk(FinishReason reason, const std::optional<std::string>& stop) const;
  /// "" if the request did not ask for it.
  std::string usage_chunk(const Usage& usage) const;

  const AnswerHeader& header() const { return header_; }

 private:
  json::object envelope(std::string_view chat_object) const;
  std::string chunk(json::object choice) const;

  AnswerHeader header_;
};

}  // namespace tetrad::api
