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
  std::string request_id;  // what X-Request-Id says
  int64_t created = 0;     // seconds since 1970
  std::string model;
  std::string system_fingerprint;
  bool include_reasoning = true;
  bool include_usage = false;     // of a stream
  bool continuous_usage = false;  // the usage so far with every chunk
  bool include_prompt_logprobs = false;
  /// Ids of prompts and generated tokens. One list for each prompt; none: not asked for.
  std::vector<std::vector<TokenId>> prompt_token_ids;
  int64_t num_answers = 1;
  int64_t num_prompts = 1;  // the answers to each stand together

  int64_t answers_per_prompt() const { return num_answers / num_prompts; }
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
  std::vector<AnswerToolCall> tool_calls;
  std::vector<AnswerToken> tokens;
  std::vector<TokenId> token_ids;
  std::vector<TokenLogprobs> prompt_logprobs;
  FinishReason finish_reason = FinishReason::stop;
  std::optional<std::string> stop_reason;
  bool calls_tools = false;  // as in AnswerEvent
};

/// The deltas of a chat's stream that show the event: text and the beginnings of calls in the
/// first, and in a second what those calls have in arguments already. Either may be missing.
std::vector<json::object> chat_deltas(const AnswerEvent& event, bool include_reasoning);

class AnswerFormat {
 public:
  /// The tokenizer must outlive the format.
  AnswerFormat(AnswerHeader header, const Tokenizer& tokenizer)
      : header_(std::move(header)), logprobs_(tokenizer) {}

  /// The whole response. `answers`: header().num_answers, in the order of their indices.
  std::string whole(std::span<const Answer> answers, const Usage& usage) const;

  /// What chunks with continuous_usage say from here on.
  void set_usage(const Usage& usage) { usage_so_far_ = usage; }

  /// The first chunk of an answer's stream, which names the role, or has the ids of the prompt's
  /// tokens; "" where there is neither.
  std::string opening_chunk(int64_t index) const;
  /// None if the event shows nothing; two if it shows a call's beginning and arguments of it, for
  /// clients rely on a first piece that has none.
  std::vector<std::string> delta_chunks(const AnswerEvent& event) const;
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
  bool returns_token_ids() const { return !header_.prompt_token_ids.empty(); }
  json::array prompt_token_ids(int64_t index) const;

  AnswerHeader header_;
  Usage usage_so_far_;
  LogprobsFormat logprobs_;
};

}  // namespace tetrad::api
