#pragma once

// The JSON of log probabilities, in the forms of the OpenAI API and of vLLM.

#include <span>

#include "api/answer.h"
#include "base/json.h"
#include "text/tokenizer.h"

namespace tetrad::api {

class LogprobsFormat {
 public:
  /// The tokenizer must outlive the format.
  explicit LogprobsFormat(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  /// `logprobs` of a chat's choice: {"content": [{"token", "logprob", "bytes", "top_logprobs"}]}.
  /// Null without tokens, here and in completion(). Bytes that are not text on their own are
  /// U+FFFD in "token"; "bytes" has them as they are.
  json::value chat(std::span<const AnswerToken> tokens) const;

  /// `logprobs` of a completion's choice: lists of the tokens' texts, offsets, log probabilities
  /// and likeliest tokens. Those are {text: log probability}, so that of tokens with the same text
  /// the likeliest is shown.
  json::value completion(std::span<const AnswerToken> tokens) const;

  /// vLLM's `prompt_logprobs`: null for the first token of the prompt, then for each an object
  /// {"<id>": {"logprob", "rank", "decoded_token"}} of the token and the likeliest.
  json::array prompt(std::span<const TokenLogprobs> tokens) const;

 private:
  std::string token_text(TokenId id) const;
  json::object chat_token(const TokenLogprob& token) const;
  json::object top_by_text(const TokenLogprobs& logprobs) const;

  const Tokenizer* tokenizer_;
};

}  // namespace tetrad::api
