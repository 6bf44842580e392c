#pragma once

// From the engine's events to an answer. One stream of AnswerEvents feeds both the streamed and the
// whole response, so that the two cannot differ.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/token_offsets.h"
#include "chat/output_parser.h"
#include "chat/tool_definition.h"
#include "engine/request.h"

namespace tetrad::api {

/// A token as log probabilities show it.
struct AnswerToken {
  TokenId id = 0;
  std::optional<TokenLogprobs> logprobs;  // none for the first token of a prompt
  int64_t text_offset = 0;                // characters of the answer's text in front of it
};

/// A call of a function, or a piece of one.
struct AnswerToolCall {
  int64_t index = 0;      // in the answer: 0, 1, … without gaps
  std::string id;         // with the first piece of a call, and only with it
  std::string name;       // the same
  std::string arguments;  // JSON text; all pieces of a call make one object
};

/// One step's news of an answer.
struct AnswerEvent {
  int64_t index = 0;      // which of the request's answers
  std::string reasoning;  // new since the last event
  std::string content;
  std::vector<AnswerToolCall> tool_calls;  // at most one piece for each call
  /// If log probabilities were asked for: the new tokens, an echoed prompt's among them.
  std::vector<AnswerToken> tokens;
  /// With the first event, if asked for: of the prompt tokens 1, 2, …
  std::vector<TokenLogprobs> prompt_logprobs;
  std::vector<TokenId> token_ids;    // generated, if asked for
  int64_t num_tokens = 0;            // generated
  int64_t num_reasoning_tokens = 0;  // of num_tokens
  int64_t num_cached_tokens = 0;     // with the first event: of the prompt
  /// Set with the last event.
  std::optional<FinishReason> finish_reason;
  std::optional<std::string> stop_reason;
  std::optional<Error> error;
  /// With the last event: the client is to act, for the answer has a call that is not cut off.
  bool calls_tools = false;
};

/// Adds what the parser found to an event. Calls that begin get an id, which cannot be guessed.
void add_output(OutputDelta delta, AnswerEvent& event);

/// Adds the pieces of one event to the calls of the events before it.
void fold_tool_calls(std::vector<AnswerToolCall> pieces, std::vector<AnswerToolCall>& calls);

/// Why an answer ended, in the OpenAI API's words: "tool_calls" instead of "stop" if it calls
/// tools.
std::string_view answer_finish_reason(FinishReason reason, bool calls_tools);

/// Receives the events of answers, on the engine's thread.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  virtual void on_answer(AnswerEvent event) = 0;
};

/// Where in the response the thinking goes.
enum class ReasoningMode {
  split,         // its own field
  append_think,  // stays in the content, with the `<think>` that the prompt ended with in front
  plain,         // there is none: text completions
};

/// A prompt that is the beginning of the answer's text.
struct EchoedPrompt {
  std::string text;
  std::vector<TokenId> ids;
  bool alone = false;  // nothing that is generated follows it
};

/// What an answer is to show.
struct AnswerPlan {
  int64_t index = 0;
  ReasoningMode mode = ReasoningMode::plain;
  bool starts_in_reasoning = false;  // the prompt ended inside a think block
  ToolDefinitions tools;             // that the answer may call; null: tool markup is content
  bool parallel_tool_calls = true;   // false: only the first call is shown
  std::optional<EchoedPrompt> echo;
  bool skip_special_tokens = true;
  bool return_token_ids = false;
  std::optional<int64_t> logprobs;         // so many likeliest beside each token
  std::optional<int64_t> prompt_logprobs;  // the same for the prompt
};

/// Tells thinking, answer and calls apart, and puts an echoed prompt in front.
class AnswerReader final : public EventSink {
 public:
  /// The tokenizer must outlive the reader.
  AnswerReader(const Tokenizer& tokenizer, AnswerPlan plan, std::shared_ptr<AnswerSink> sink);

  void on_event(GenerationEvent event) override;

 private:
  void add_prompt(const GenerationEvent& event, AnswerEvent& answer);
  void add_text(const GenerationEvent& event, AnswerEvent& answer);
  void add_tokens(const GenerationEvent& event, AnswerEvent& answer);
  void add_token(TokenId id, std::optional<TokenLogprobs> logprobs, bool shown,
                 AnswerEvent& answer);

  AnswerPlan plan_;
  std::optional<OutputParser> parser_;  // none: all text is content
  TokenOffsets offsets_;
  bool started_ = false;
  std::shared_ptr<AnswerSink> sink_;
};

}  // namespace tetrad::api
