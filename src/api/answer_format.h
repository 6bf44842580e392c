#pragma once

// The JSON of answers in the OpenAI API's spelling, with vLLM's additions (`reasoning`,
// `stop_reason`). `reasoning_content` is `reasoning` under its older name, which many clients read.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/answer.h"
#include "api/dialect.h"
#include "api/logprobs_format.h"
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
  bool include_prompt_logprobs = false;
  int64_t num_answers = 1;
};

struct Usage {
  int64_t prompt_tokens = 0;  // once, however many answers there are
  int64_t cached_tokens = 0;  // of prompt_tokens, when the first answer began
  int64_t completion_tokens = 0;
  int64_t reasoning_tokens = 0;
};

/// A finished answer: all its events put together.
struct Answer {
  std::string reasoning;
  std::string content;
  std::vector<AnswerToken> tokens;
  std::vector<TokenLogprobs> prompt_logprobs;
  FinishReason finish_reason = FinishReason::stop;
  std::optional<std::string> stop_reason;
};

class AnswerFormat {
 public:
  /// The tokenizer must outlive the format.
  AnswerFormat(AnswerHeader header, const Tokenizer& tokenizer)
      : header_(std::move(header)), logprobs_(tokenizer) {}

  /// The whole response. `answers`: header().num_answers, in the order of their indices.
  std::string whole(std::span<const Answer> answers, const Usage& usage) const;

  /// The first chunk of an answer's stream, which names the role; "" where the dialect has none.
  std::string opening_chunk(int64_t index) const;
  /// "" if the event shows nothing.
  std::string delta_chunk(const AnswerEvent& event) const;
  /// `event`: the answer's last.
  std::string final_chunk(const AnswerEvent& event) const;
  /// "" if the request did not ask for it.
  std::string usage_chunk(const Usage& usage) const;

  const AnswerHeader& header() const { return header_; }

 private:
  json::object envelope(std::string_view chat_object) const;
  std::string chunk(json::object choice) const;
  json::object whole_choice(const Answer& answer, int64_t index) const;
  json::value logprobs(std::span<const AnswerToken> tokens) const;

  AnswerHeader header_;
  LogprobsFormat logprobs_;
};

}  // namespace tetrad::api
